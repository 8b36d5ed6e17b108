"""``secondlook guard``: thresholds from clean pictures, verdicts on a folder, a status that a script can use."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import secondlook as sl
from secondlook.data import load
from secondlook.data.images import write_png
from secondlook.guard.policy import Audited, read
from tests.cli.test_cli import Ended, secondlook

__all__ = ["secondlook"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two scenes, one of them a level down."""
    for at, image in enumerate(load("scenes:test").read([0, 1], None).images):
        place = tmp_path / "uploads" / ("" if at else "deep")
        place.mkdir(parents=True, exist_ok=True)
        write_png(place / f"{at}.png", image)
    return tmp_path / "uploads"


def test_a_folder_is_checked_by_what_was_calibrated(
    secondlook: Callable[..., Ended], folder: Path, tmp_path: Path
) -> None:
    clean, policy, out = tmp_path / "clean", tmp_path / "guard.toml", tmp_path / "verdicts.jsonl"
    clean.mkdir()
    for at, image in enumerate(load("scenes:calibration").read(range(24), None).images):
        write_png(clean / f"{at}.png", image)
    words = ("--model", "scenes:classifier", "--defense", "magnet", "--alpha", "0.1")
    ended = secondlook("guard", "--calibrate", clean, "--policy", policy, *words)
    assert ended.status == 0 and "10 % are rejected at most" in ended.out and policy.is_file()
    assert len(read(policy).calibration.scores) == 24

    ended = secondlook("guard", folder, "--policy", policy, "--out", out)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["file"] for row in rows] == ["1.png", "deep/0.png"]
    assert ended.status == int(any(row["decision"] != "accepted" for row in rows))
    assert "nobody has attacked this guard yet" in ended.out

    write_png(folder / "loud.png", torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(0)))
    (folder / "torn.png").write_bytes(b"\x89PNG\r\n")
    known = Audited(study="s", config="c", threat="L∞ 8/255", attack="synthesis", n=50, through=(0.98, 0.9, 1.0))
    read(policy).model_copy(update={"audited": known}).write(policy)
    ended = secondlook("guard", folder, "--policy", policy, "--out", out)
    rows = {row["file"]: row for row in map(json.loads, out.read_text().splitlines())}
    assert ended.status == 1 and "gets through on 98 % [90, 100]" in ended.out
    assert rows["loud.png"]["decision"] == "rejected" and rows["loud.png"]["stage"].startswith("magnet")
    assert rows["torn.png"]["decision"] == "unreadable" and str(folder) not in rows["torn.png"]["why"]


def test_what_cannot_be_is_one_line(secondlook: Callable[..., Ended], folder: Path, tmp_path: Path) -> None:
    for words in (
        (),
        (folder, "--calibrate", folder),
        (folder, "--policy", tmp_path / "none.toml"),
        ("--calibrate", folder),
    ):
        ended = secondlook("guard", *words)
        assert ended.status == 2 and len(ended.err.strip().splitlines()) == 1, ended.err


def test_a_guard_is_audited_as_its_file_says(secondlook: Callable[..., Ended], tmp_path: Path) -> None:
    policy, out = tmp_path / "guard.toml", tmp_path / "run"
    sl.Guard("scenes:classifier", "magnet", alpha=0.2, calibrate_samples=20).save(policy)
    before = policy.read_bytes()
    short = ("--samples", 2, "--set", "attacks.0.steps=1", "--set", "diagnosed=0", "--set", "rescore=1")
    ended = secondlook("audit", "--guard", policy, "--out", out, *short)
    assert ended.status == 0 and f"{policy} is left as it was, for the result, " in ended.out
    assert policy.read_bytes() == before
    stored = json.loads((out / "run.json").read_text())["study"]
    assert stored["models"] == ["scenes:classifier"]
    assert stored["defenses"][1]["threshold"] == sl.Guard.load(policy).threshold


def test_what_is_beside_a_guard_that_is_audited(secondlook: Callable[..., Ended], tmp_path: Path) -> None:
    policy = tmp_path / "guard.toml"
    for words, told in ((("--model", "scenes:clip"), "has its own model"), (("--shard", "1/2"), "result of a whole")):
        ended = secondlook("audit", "--guard", policy, *words)
        assert ended.status == 2 and told in ended.err
    assert secondlook("audit", "--guard", policy).status == 2
