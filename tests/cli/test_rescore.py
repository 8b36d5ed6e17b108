"""``secondlook rescore`` as a user calls it."""

import json
import sys
from pathlib import Path

import pytest

from secondlook import cli
from secondlook.audit.api import run_study
from secondlook.audit.study import parse
from secondlook.data import load
from secondlook.data.images import write_png
from tests.audit.test_rescore import Save, bundle

__all__ = ["bundle"]


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["secondlook", "rescore", *map(str, words)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def write(folder: Path, name: str, shift: float) -> str:
    """Five scenes with their captions as a list of SGA's, a little brighter by ``shift``."""
    source = load("scenes:test").captioned()
    (folder / name).mkdir()
    images = source.read(range(5), (64, 64)).images
    for row, image in enumerate(images):
        write_png(folder / name / f"{row}.png", (image + shift).clamp(0, 1))
    entries = [{"image": f"{r}.png", "caption": list(source.captions(r))} for r in range(5)]
    (folder / f"{name}.json").write_text(json.dumps(entries))
    return f"sga:{folder / name}.json@{folder / name}"


def test_a_list_is_scored_and_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    clean, altered = write(tmp_path, "clean", 0), write(tmp_path, "altered", 3 / 255)
    words = (altered, "--data", clean, "--json", tmp_path / "found.json")
    assert run(monkeypatch, *words, "--eps", "3/255", "--words", 0) == 0
    out = capsys.readouterr().out
    assert "threat not recorded, measured linf eps = 3.00/255" in out
    assert "image to text R@1" in out and "text to image ASR@10" in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["denominators"]["text_to_image_r1"] == 25
    assert found["metrics"]["words_changed"]["value"] == 0
    assert run(monkeypatch, *words, "--eps", "2/255") == 2
    assert "3.00/255 away in linf, and L∞ 2/255 was allowed" in capsys.readouterr().err
    assert run(monkeypatch, *words, "--model", "scenes:classifier") == 2
    assert "a search needs both" in capsys.readouterr().err


def test_a_bundle_is_scored_and_measured(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bundle: Save
) -> None:
    assert run(monkeypatch, bundle(), "--model", "python:tests.audit.test_rescore:eye") == 0
    out = capsys.readouterr().out
    assert "measured linf eps = 30.00/255" in out and "target top-1" in out and "unchecked" in out


def test_a_searched_set_takes_model_and_samples_of_its_run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    study = {"name": "search", "models": ["scenes:clip"], "seed": 4, "attack": {"name": "pair-pgd", "steps": 1}}
    study |= {"task": {"name": "retrieval", "data": "scenes:test", "samples": 3}}
    run_study(parse(study, "the test"), tmp_path / "run")
    (place,) = (tmp_path / "run" / "adversarial").iterdir()
    assert run(monkeypatch, place, "--json", "found.json") == 0, capsys.readouterr()
    assert json.loads((tmp_path / "found.json").read_text())["denominators"]["image_to_text_r1"] == 3
    assert run(monkeypatch, place, "--seed", 5) == 2
    assert "take the samples and the seed of its run" in capsys.readouterr().err
