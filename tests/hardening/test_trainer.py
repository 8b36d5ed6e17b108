"""The loop: a killed training ends where an uninterrupted one does, and a spoilt one stops."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secondlook import registry
from secondlook.errors import BrokenRun, InvalidInput
from secondlook.hardening.base import Lesson, Moment
from secondlook.hardening.checkpoint import Checkpoint
from secondlook.hardening.course import Course
from secondlook.hardening.lessons import Examples
from secondlook.hardening.probe import Probe
from secondlook.hardening.student import Student
from secondlook.hardening.trainer import Training
from tests.hardening.school import Yard, pupil

YARD = Yard(24)
METHODS = registry.names("method")
State = dict[str, Tensor]


def silent(done: int, of: int, what: str) -> None:
    """Nobody watches."""


def run(
    name: str, folder: Path, wrap: Any = None, **changes: Any
) -> tuple[State, list[list[float]]]:
    """Trains a fresh pupil for ten steps; its weights and its history."""
    method = registry.build("method", name, {})
    student = Student(pupil(), method.part)
    lesson: Lesson = method.bind(student, YARD)
    course = Course(**{"steps": 10, "batch": 6, "rate": 0.02, "average": 0.9, **changes})
    training = Training(
        student=student, lesson=wrap(lesson) if wrap else lesson, lessons=YARD, course=course,
        checkpoint=Checkpoint(path=folder / "a.checkpoint", identity={"method": name}),
    )  # fmt: skip
    training.run(Probe(student, YARD, 4 / 255), silent, every=3)
    return {k: v.clone() for k, v in student.network.state_dict().items()}, training.history


def dying(at: int, error: BaseException) -> Any:
    """Wraps a lesson so that it raises when it is asked for the ``at``-th time."""

    def wrap(lesson: Lesson) -> Lesson:
        asked = 0

        def called(batch: Examples, moment: Moment) -> Tensor:
            nonlocal asked
            asked += 1
            if asked == at:
                raise error
            return lesson(batch, moment)

        return called

    return wrap


def spoilt(at: int) -> Any:
    """Wraps a lesson so that its ``at``-th loss is not a number."""

    def wrap(lesson: Lesson) -> Lesson:
        asked = 0

        def called(batch: Examples, moment: Moment) -> Tensor:
            nonlocal asked
            asked += 1
            return lesson(batch, moment) * (float("nan") if asked == at else 1)

        return called

    return wrap


@pytest.mark.parametrize("name", METHODS)
def test_a_killed_training_ends_where_an_uninterrupted_one_does(name: str, tmp_path: Path) -> None:
    whole, history = run(name, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        run(name, tmp_path / "b", dying(8, KeyboardInterrupt()))
    resumed, again = run(name, tmp_path / "b")
    assert all(torch.equal(value, resumed[key]) for key, value in whole.items())
    assert history == again
    assert [int(row[0]) for row in history] == list(range(1, 11))
    fresh = pupil().network.state_dict()
    assert not torch.equal(whole["0.image.weight"], fresh["image.weight"])


def test_a_resumed_training_does_only_what_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run("clean", tmp_path, dying(8, KeyboardInterrupt()))
    with pytest.raises(ZeroDivisionError):
        run("clean", tmp_path, dying(4, ZeroDivisionError()))  # steps 7, 8, 9, then this one
    run("clean", tmp_path, dying(2, ZeroDivisionError()))  # the tenth alone


@pytest.mark.parametrize(
    ("at", "kept"), [(8, "the last good checkpoint is kept at"), (2, "not there")]
)
def test_a_loss_that_is_no_number_stops_before_it_spoils_the_weights(
    at: int, kept: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.checkpoint"
    with pytest.raises(
        BrokenRun, match=rf"step {at}: the loss is nan.*{kept}.*smaller --lr"
    ) as told:
        run("tecoa", tmp_path, spoilt(at))
    assert str(path) in str(told.value)
    assert path.exists() == (at == 8)
    if at == 8:
        state = Checkpoint(path=path, identity={"method": "tecoa"}).load()
        assert state is not None and state["step"] == 6
        assert all(bool(v.isfinite().all()) for v in state["network"].values())
        mended, _ = run("tecoa", tmp_path)
        whole, _ = run("tecoa", tmp_path / "other")
        assert all(torch.equal(value, mended[key]) for key, value in whole.items())


def test_another_method_does_not_go_on_from_it(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run("tecoa", tmp_path, dying(8, KeyboardInterrupt()))
    with pytest.raises(InvalidInput, match="method='tecoa', not 'fare'"):
        run("fare", tmp_path)


def test_a_set_smaller_than_a_batch_is_refused_before_the_first_step(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="24 samples do not fill a batch of 30"):
        run("tecoa", tmp_path, batch=30)


def test_the_average_is_what_is_kept(tmp_path: Path) -> None:
    """With a decay near one it lags behind the last weights."""
    fresh = pupil().network.image.weight.detach()
    last, _ = run("clean", tmp_path / "a", average=0.0)
    mean, _ = run("clean", tmp_path / "b", average=0.9)
    moved = [float((each["0.image.weight"] - fresh).norm()) for each in (last, mean)]
    assert 0 < moved[1] < moved[0]


def test_the_text_tower_stays_as_it_was_where_the_image_tower_learns(tmp_path: Path) -> None:
    fresh = pupil().network.state_dict()
    for name in ("tecoa", "fare"):
        after, _ = run(name, tmp_path / name)
        assert torch.equal(after["0.words.weight"], fresh["words.weight"])
    after, _ = run("tecoa-itr", tmp_path / "itr")
    assert not torch.equal(after["0.words.weight"], fresh["words.weight"])


def test_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    run("tecoa-itr", tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
