"""A guard decides as the model that is audited, says how rare such a suspicion is, and is the same from a file."""

import asyncio
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from secondlook.data import load as open_source
from secondlook.data.images import write_png
from secondlook.errors import InvalidInput, UnknownName
from secondlook.guard.guard import Guard
from secondlook.guard.policy import Calibration, realized
from secondlook.randomness import Keys

STACK = ["squeezing", "multishield", "noise"]


@pytest.fixture(scope="module")
def guard() -> Guard:
    return Guard("scenes:classifier", STACK, alpha=0.1, calibrate_samples=160)


@pytest.fixture(scope="module")
def x() -> Tensor:
    clean = open_source("scenes:test").read(range(12), None).images
    clean[::4] = torch.rand(clean[::4].shape, generator=torch.Generator().manual_seed(0))
    return clean


def test_it_decides_as_the_guarded_model(guard: Guard, x: Tensor) -> None:
    ids = [f"request-{row}" for row in range(len(x))]
    found, whole = guard.check(x, ids), guard.guarded.decide(x, Keys.of(0, ids))
    assert [each.decision == "accepted" for each in found] == whole.accepted.tolist()
    assert {each.decision for each in found} == {"accepted", "rejected"}
    for each, answer in zip(found, whole.answer.tolist(), strict=True):
        assert (each.suspicion <= each.threshold) == (each.decision == "accepted")
        assert each.answer == (guard.guarded.classes[answer] if each.decision == "accepted" else None)
        assert (each.p_value <= 0.1) == (each.decision == "rejected")
        assert each.stage == list(each.looks)[-1]


def test_votes_are_told(guard: Guard, x: Tensor) -> None:
    accepted = [each for each in guard.check(x) if each.decision == "accepted"]
    votes = [each.votes for each in accepted]
    assert all(vote is not None and 1 <= vote.most <= vote.drawn <= 10 and vote.agree > 0 for vote in votes)


def test_an_id_gives_the_same_verdict_alone_and_later(guard: Guard, x: Tensor) -> None:
    found = guard.check(x)
    again = guard.check(x[5:6], [found[5].id])[0]
    assert (again.decision, again.stage, again.votes) == (found[5].decision, found[5].stage, found[5].votes)
    assert len({each.id for each in found}) == len(x)
    assert asyncio.run(guard.acheck(x[5:6], [found[5].id]))[0] == again


def test_it_is_the_same_from_its_file(guard: Guard, x: Tensor, tmp_path: Path) -> None:
    guard.save(tmp_path / "guard.toml")
    loaded, ids = Guard.load(tmp_path / "guard.toml"), [str(row) for row in range(len(x))]
    assert loaded.check(x, ids) == guard.check(x, ids)
    assert loaded.policy == guard.policy


def test_files_are_read(guard: Guard, x: Tensor, tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", x[1])
    one = guard.check(tmp_path / "a.png", ["a"])
    assert [each.decision for each in guard.check([tmp_path / "a.png"] * 2, ["a", "a"])] == [one[0].decision] * 2


def test_a_captioner_and_one_detector() -> None:
    made = Guard("scenes:captioner", "magnet", alpha=0.1, calibrate_samples=40)
    (verdict,) = made.check(open_source("scenes:test").read([3], None).images)
    assert verdict.decision == "accepted" and verdict.answer and verdict.votes is None


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_false_alarms_are_what_was_promised(alpha: float) -> None:
    made = Guard("scenes:classifier", ["magnet", "squeezing"], alpha=alpha, calibrate_samples=600)
    fresh = open_source("scenes:test").read(range(400), None).images
    rate = sum(each.decision == "rejected" for each in made.check(fresh)) / 400
    low, high = made.policy.calibration.rate
    spread = 2.6 * (alpha * (1 - alpha) / 400) ** 0.5
    assert low - spread < rate < high + spread


def test_the_p_value_is_that_of_conformal_prediction() -> None:
    made = Calibration(data="d", content="c", alpha=0.25, rate=(0, 1), scores=[1.0, 2.0, 3.0, 4.0])
    assert [made.p_value(at) for at in (0.0, 2.0, 4.5)] == [1.0, 0.8, 0.2]
    low, high = realized(1000, 0.05)
    assert (round(low, 3), round(high, 3)) == (0.037, 0.064)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda text: re.sub(r'"scenes:clip" = "\w+"', '"scenes:clip" = "0000"', text),
            "scenes:clip with the hash 0000",
        ),
        (lambda text: text.replace("format = 1", "format = 2"), "format"),
        (lambda text: text.replace("alpha = 0.1", "alpha = 2"), "calibration.alpha"),
        (lambda text: text.replace("[calibration]", "[calibrations]"), "calibration"),
        (lambda text: text + "\nextra = 1", "extra"),
        (lambda text: text.replace('name = "stack"', 'name = "nothing"'), "nothing"),
        (lambda text: text[: len(text) // 3], "cannot be read as a policy|Field required"),
        (lambda text: text.replace("scales = [", "scales = [] # ["), "cannot be read|scales"),
        (lambda text: "\x00", "cannot be read"),
        (lambda text: f"a = {'[' * 100_000}", "cannot be read"),
        (lambda text: f"a = {'9' * 5_000}", "cannot be read"),
    ],
)
def test_a_file_that_is_no_policy_of_this_model_is_refused(guard: Guard, tmp_path: Path, change, told: str) -> None:
    guard.save(tmp_path / "guard.toml")
    text = (tmp_path / "guard.toml").read_text()
    assert change(text) != text
    (tmp_path / "guard.toml").write_text(change(text))
    with pytest.raises((InvalidInput, UnknownName), match=told):
        Guard.load(tmp_path / "guard.toml")


def test_what_makes_no_guard_is_refused(guard: Guard, x: Tensor, tmp_path: Path) -> None:
    for defense in ("jpeg", ["jpeg", "noise"], [], None):
        with pytest.raises(InvalidInput):
            Guard("scenes:classifier", defense)  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="needs 999 clean samples"):
        Guard("scenes:classifier", "magnet", alpha=0.001, calibrate_samples=100)
    with pytest.raises(InvalidInput, match="2 ids for 12 images"):
        guard.check(x, ["a", "b"])
    with pytest.raises(InvalidInput, match="no file can hold"):
        Guard(
            torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 64 * 64, 4)), "magnet", classes=list("abcd")
        ).save(tmp_path / "guard.toml")
    with pytest.raises(InvalidInput, match="cannot be read"):
        Guard.load(tmp_path / "nothing.toml")
