"""The training loop: rates, rows, resume, and a stop at what is not finite."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secondlook import registry
from secondlook.errors import BrokenRun, InvalidInput
from secondlook.hardening.base import BatchLoss, StepContext
from secondlook.hardening.dataset import Batch
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.hardening.evaluation import Validator
from secondlook.hardening.output import Checkpoint
from secondlook.hardening.trainer import Training, TrainingConfig
from tests.hardening.toy import ToyDataset, toy_embedder


def test_the_rate_rises_in_a_line_and_falls_to_nothing() -> None:
    config = TrainingConfig(steps=100, rate=1.0 - 1e-9, warmup=0.1)
    rates = [config.rate_at(step) for step in range(100)]
    assert rates[:10] == pytest.approx([(step + 1) / 10 for step in range(10)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 0.001


def test_without_warm_up_the_first_step_has_the_whole_rate() -> None:
    assert TrainingConfig(steps=10, rate=0.5, warmup=0.0).rate_at(0) == 0.5


def test_an_epoch_sees_each_sample_once_and_the_next_in_another_order() -> None:
    config = TrainingConfig(steps=8, batch=5)
    epochs = [sum((config.rows(step, 20) for step in range(at, at + 4)), []) for at in (0, 4)]
    assert all(Counter(rows) == Counter(range(20)) for rows in epochs)
    assert epochs[0] != epochs[1]
    assert config.rows(6, 20) == TrainingConfig(steps=8, batch=5).rows(6, 20)
    assert config.rows(0, 20) != TrainingConfig(steps=8, batch=5, seed=1).rows(0, 20)


def test_what_does_not_fill_a_batch_waits_for_another_epoch() -> None:
    config = TrainingConfig(steps=8, batch=5)
    for epoch in range(3):
        rows = [row for step in (0, 1) for row in config.rows(2 * epoch + step, 12)]
        assert len(set(rows)) == 10


def test_fewer_samples_than_a_batch_are_refused_with_the_mend() -> None:
    with pytest.raises(InvalidInput, match=r"7 samples do not fill a batch of 8.*--batch 7"):
        TrainingConfig(batch=8).rows(0, 7)


@pytest.mark.parametrize(
    ("field", "value"), [("steps", 0), ("batch", 1), ("rate", 0.0), ("rate", 1.0), ("warmup", 1.0), ("average", -0.1)]
)
def test_settings_out_of_range_are_named(field: str, value: float) -> None:
    with pytest.raises(InvalidInput, match=field):
        TrainingConfig(**{field: value})  # type: ignore[arg-type]


DATA = ToyDataset(24)
METHODS = registry.names("method")
State = dict[str, Tensor]


def silent(done: int, of: int, what: str) -> None:
    """Nobody watches."""


def run(name: str, folder: Path, wrap: Any = None, **changes: Any) -> tuple[State, list[list[float]]]:
    """Trains a fresh embedder for ten steps; its weights and its history."""
    method = registry.build("method", name, {})
    trainable = TrainableEmbedder(toy_embedder(), method.part)
    batch_loss: BatchLoss = method.make_loss(trainable, DATA)
    config = TrainingConfig(**{"steps": 10, "batch": 6, "rate": 0.02, "average": 0.9, **changes})
    training = Training(
        trainable=trainable,
        batch_loss=wrap(batch_loss) if wrap else batch_loss,
        dataset=DATA,
        config=config,
        checkpoint=Checkpoint(path=folder / "a.checkpoint", identity={"method": name}),
    )
    training.run(Validator(trainable, DATA, 4 / 255), silent, every=3)
    return {k: v.clone() for k, v in trainable.network.state_dict().items()}, training.history


def dying(at: int, error: BaseException) -> Any:
    """Wraps a batch_loss so that it raises when it is asked for the ``at``-th time."""

    def wrap(batch_loss: BatchLoss) -> BatchLoss:
        asked = 0

        def called(batch: Batch, context: StepContext) -> Tensor:
            nonlocal asked
            asked += 1
            if asked == at:
                raise error
            return batch_loss(batch, context)

        return called

    return wrap


def spoilt(at: int) -> Any:
    """Wraps a batch_loss so that its ``at``-th loss is not a number."""

    def wrap(batch_loss: BatchLoss) -> BatchLoss:
        asked = 0

        def called(batch: Batch, context: StepContext) -> Tensor:
            nonlocal asked
            asked += 1
            return batch_loss(batch, context) * (float("nan") if asked == at else 1)

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
    fresh = toy_embedder().network.state_dict()
    assert not torch.equal(whole["0.image.weight"], fresh["image.weight"])


def test_a_resumed_training_does_only_what_is_left(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        run("clean", tmp_path, dying(8, KeyboardInterrupt()))
    with pytest.raises(ZeroDivisionError):
        run("clean", tmp_path, dying(4, ZeroDivisionError()))  # steps 7, 8, 9, then this one
    run("clean", tmp_path, dying(2, ZeroDivisionError()))  # the tenth alone


@pytest.mark.parametrize(("at", "kept"), [(8, "the last good checkpoint is kept at"), (2, "there is no ")])
def test_a_loss_that_is_no_number_stops_before_it_spoils_the_weights(at: int, kept: str, tmp_path: Path) -> None:
    path = tmp_path / "a.checkpoint"
    with pytest.raises(BrokenRun, match=rf"step {at}: the loss is nan.*{kept}.*smaller --lr") as told:
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
    fresh = toy_embedder().network.image.weight.detach()
    last, _ = run("clean", tmp_path / "a", average=0.0)
    mean, _ = run("clean", tmp_path / "b", average=0.9)
    moved = [float((each["0.image.weight"] - fresh).norm()) for each in (last, mean)]
    assert 0 < moved[1] < moved[0]


def test_the_text_tower_stays_as_it_was_where_the_image_tower_learns(tmp_path: Path) -> None:
    fresh = toy_embedder().network.state_dict()
    for name in ("tecoa", "fare"):
        after, _ = run(name, tmp_path / name)
        assert torch.equal(after["0.words.weight"], fresh["words.weight"])
    after, _ = run("tecoa-itr", tmp_path / "itr")
    assert not torch.equal(after["0.words.weight"], fresh["words.weight"])


def test_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    run("tecoa-itr", tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
