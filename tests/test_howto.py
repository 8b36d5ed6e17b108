"""README and docs: code runs, studies are read, commands exist, tables and links are whole."""

import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest
import torch
import typer

from secondlook import registry
from secondlook.attacks.text.base import TextThreat
from secondlook.audit.study import parse, shipped
from secondlook.cli import app
from secondlook.doctor.examine import examine
from secondlook.doctor.model import prepare
from secondlook.models import load
from secondlook.models.io.cards import Card

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs" / "howto").glob("*.md"))
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), *PAGES]


def blocks(language: str) -> list[tuple[str, str]]:
    """All blocks of a language, with their pages."""
    pattern = re.compile(rf"```{language}\n(.*?)```", re.DOTALL)
    return [(page.stem, code) for page in PAGES for code in pattern.findall(page.read_text())]


MODULES = {found[1]: code for _, code in blocks("python") if (found := re.match(r'"""(\w+)\.py', code)) is not None}


@pytest.mark.parametrize("name", MODULES)
def test_a_model_of_the_pages_is_in_good_health(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{name}.py").write_text(MODULES[name])
    monkeypatch.chdir(tmp_path)
    try:
        # The page's network has no weights of its own: its first ones are chosen here.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = load(f"python:{name}:factory")
        found = examine(prepare(model, side=32, samples=8))
    finally:
        sys.modules.pop(name, None)
    troubles = [each for each in found.findings if each.status in ("warn", "fail")]
    assert {each.check for each in troubles} <= {"default audit"}, troubles


def test_other_code_of_the_pages_runs(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    others = [
        code
        for page, code in blocks("python")
        # The front door's own page is run by the tests of the front door.
        if not code.startswith('"""') and page != "attack-your-model"
    ]
    assert len(others) == 9 and len(MODULES) == 3
    for code in others:
        exec(compile(code, "a how-to page", "exec"), {})
    assert "Outcome" in capsys.readouterr().out


@pytest.mark.parametrize(("page", "code"), blocks("toml"))
def test_studies_are_read(page: str, code: str) -> None:
    assert parse({"name": page, **tomllib.loads(code)}, page)


@pytest.mark.parametrize(("page", "code"), blocks("json"))
def test_cards_are_read(page: str, code: str) -> None:
    assert Card.model_validate(json.loads(code))


def commands() -> list[tuple[str, list[str]]]:
    """All command lines of README and docs, in blocks and in the text."""
    block = re.compile(r"```(?:sh|console)\n(.*?)```", re.DOTALL)
    inline = re.compile(r"`((?:secondlook|make|python -m|[A-Z_0-9]+=…) [^`\n]+)`")
    found = []
    for page in DOCS:
        text = page.read_text(encoding="utf-8")
        lines = [line for code in block.findall(text) for line in code.splitlines()]
        found += [(page.name, shlex.split(line, comments=True)) for line in [*lines, *inline.findall(text)]]
    return [(page, [word for word in words if "=…" not in word]) for page, words in found if words]


@pytest.mark.parametrize(("page", "words"), commands())
def test_commands_and_their_options_exist(page: str, words: list[str]) -> None:
    match words:
        case ["secondlook", verb, *rest] if verb.isalpha() and verb.islower():
            _secondlook(verb, rest)
        case ["make", target, *_] if target.isalpha():
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), words
        case ["python", "-m", module, *_] if module.split(".")[0] in ("benchmarks", "experiments"):
            assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), words


def _secondlook(verb: str, rest: list[str]) -> None:
    group = typer.main.get_command(app)
    command = group.commands[verb]  # type: ignore[attr-defined]
    known = {option for each in command.params for option in each.opts}
    assert {word for word in rest if word.startswith("--")} <= known, rest
    if verb == "audit" and rest and not rest[0].startswith("--"):
        study = rest[0]
        if study.startswith("experiments/") and study != "experiments/studies/NAME.toml":
            assert (ROOT / study).is_file(), study
        elif re.fullmatch(r"[a-z-]+", study):
            assert study in shipped(), study


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in re.findall(r"\]\(((?!https?:)[^)#]+)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", DOCS, ids=lambda page: page.name)
def test_rows_of_a_table_have_as_many_cells_as_its_head(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for table in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
        rows = table.splitlines()
        assert len(rows) > 2 and set(rows[1]) <= set("|-: "), rows[0]
        counts = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
        assert len(set(counts)) == 1, (rows[0], counts)


def test_the_page_of_breaks_names_attacks_and_settings_that_there_are() -> None:
    text = (ROOT / "docs" / "breaks.md").read_text(encoding="utf-8")
    objectives = set(re.findall(r'`objective = "([a-z-]+)"`', text))
    tasks = [registry.build("task", name, {"samples": 4}).open() for name in ("zeroshot", "captioning")]
    assert objectives <= {objective for task in tasks for objective in task.objectives}
    assert "`synthesis`" in text and "synthesis" in registry.names("attack")
    assert set(re.findall(r'`text = "([a-z-]+)"`', text)) <= set(get_args(TextThreat))
