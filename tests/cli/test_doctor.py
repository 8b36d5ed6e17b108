"""``secondlook doctor`` as a user calls it: what it prints and writes, and how it ends."""

import json
import sys
from pathlib import Path

import pytest

from secondlook import cli
from tests import tiny


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("cli") / "images", 36)


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(sys, "argv", ["secondlook", "doctor", *map(str, words)])
    try:
        cli.main()
    except SystemExit as stop:
        return int(stop.code or 0)
    return 0


def test_in_good_health_it_ends_with_0_and_writes_what_it_found(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path, images: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("python:tests.tiny:eye", "--data", f"folder:{images}", "--size", 8)
    assert run(monkeypatch, *words, "--samples", 18, "--json", "found.json") == 0
    out = capsys.readouterr().out
    assert out.startswith("tiny:eye, embedder, at 8x8\nPASS  accepts [0, 1]")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["data"] == f"folder:{images}" and found["resolution"] == [8, 8]
    statuses = [finding["status"] for finding in found["findings"]]
    assert out.splitlines()[-1].startswith(f"{statuses.count('pass')} pass")
    accuracy = next(f for f in found["findings"] if f["check"] == "clean accuracy")
    assert accuracy["figures"]["accuracy"] == 1 and "18 images" in accuracy["measured"]


def test_a_failed_check_shows_its_mend_and_ends_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], images: Path
) -> None:
    words = ("python:tests.tiny:contrary", "--data", f"folder:{images}", "--size", 8)
    assert run(monkeypatch, *words) == 1
    lines = capsys.readouterr().out.splitlines()
    (row,) = (i for i, line in enumerate(lines) if line.startswith("FAIL"))
    assert "clean accuracy" in lines[row] and "→ look at the order of the classes" in lines[row + 1]
    assert "1 fail" in lines[-1]
