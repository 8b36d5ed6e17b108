"""The how-to pages: their code runs, their studies are read, their commands exist."""

import json
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest
import torch
import typer

from secondlook.audit.study import parse
from secondlook.cli import app
from secondlook.doctor.examine import examine
from secondlook.doctor.patient import admit
from secondlook.models import load
from secondlook.models.cards import Card

PAGES = sorted((Path(__file__).resolve().parents[1] / "docs" / "howto").glob("*.md"))


def blocks(language: str) -> list[tuple[str, str]]:
    """All blocks of a language, with their pages."""
    pattern = re.compile(rf"```{language}\n(.*?)```", re.DOTALL)
    return [(page.stem, code) for page in PAGES for code in pattern.findall(page.read_text())]


MODULES = {
    found[1]: code
    for _, code in blocks("python")
    if (found := re.match(r'"""(\w+)\.py', code)) is not None
}


@pytest.mark.parametrize("name", MODULES)
def test_a_model_of_the_pages_is_in_good_health(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{name}.py").write_text(MODULES[name])
    monkeypatch.chdir(tmp_path)
    try:
        # The page's network has no weights of its own: its first ones are chosen here.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = load(f"python:{name}:factory")
        found = examine(admit(model, side=32, samples=8))
    finally:
        sys.modules.pop(name, None)
    troubles = [each for each in found.findings if each.status in ("warn", "fail")]
    assert {each.check for each in troubles} <= {"the default audit"}, troubles


def test_other_code_of_the_pages_runs(capsys: pytest.CaptureFixture[str]) -> None:
    others = [code for _, code in blocks("python") if not code.startswith('"""')]
    assert len(others) == 2 and len(MODULES) == 3
    for code in others:
        exec(compile(code, "a how-to page", "exec"), {})
    assert "Outcome" in capsys.readouterr().out


@pytest.mark.parametrize(("page", "code"), blocks("toml"))
def test_studies_are_read(page: str, code: str) -> None:
    assert parse({"name": page, **tomllib.loads(code)}, page)


@pytest.mark.parametrize(("page", "code"), blocks("json"))
def test_cards_are_read(page: str, code: str) -> None:
    assert Card.model_validate(json.loads(code))


@pytest.mark.parametrize(("page", "code"), blocks("sh"))
def test_commands_and_their_options_exist(page: str, code: str) -> None:
    group = typer.main.get_command(app)
    for words in map(shlex.split, code.splitlines()):
        if words[0] != "secondlook":
            continue
        command = group.commands[words[1]]  # type: ignore[attr-defined]
        known = {option for each in command.params for option in each.opts}
        assert {word for word in words if word.startswith("--")} <= known, words


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        for link in re.findall(r"\]\(((?!https?:)[^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"
