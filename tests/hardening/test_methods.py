"""All methods: what they train on, what they leave alone, and that they harden."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secondlook import registry
from secondlook.errors import InvalidInput
from secondlook.hardening.base import AdversarialMethod, Method, StepContext, fare_loss
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.hardening.evaluation import Validation, Validator
from secondlook.hardening.output import Checkpoint
from secondlook.hardening.tecoa import TeCoA
from secondlook.hardening.trainer import Training, TrainingConfig
from secondlook.randomness import Keys
from tests.hardening.toy import ToyDataset, away, toy_embedder

DATA = ToyDataset(16)
EPS = 4 / 255
ATTACKING = ["tecoa", "tecoa-itr", "fare"]
CONTEXT = StepContext(Keys.of(0, DATA.ids), 0.5)


def made(name: str, **settings: Any) -> Any:
    return registry.build("method", name, settings)


def attacked(name: str, **settings: Any) -> AdversarialMethod:
    method: AdversarialMethod = made(name, eps=EPS, **settings)
    return method


def silent(done: int, of: int, what: str) -> None:
    """Nobody watches."""


def seen_in_training(trainable: TrainableEmbedder) -> list[Tensor]:
    """What the image tower is shown while it is in training mode."""
    seen = list[Tensor]()
    look = trainable.embedder.encode_image

    def shown(x: Tensor) -> Tensor:
        if trainable.network.training:
            seen.append(x.detach().clone())
        return look(x)

    trainable.embedder.encode_image = shown  # type: ignore[method-assign]
    return seen


@pytest.mark.parametrize("name", ATTACKING)
def test_it_learns_from_attacked_images_within_the_radius(name: str) -> None:
    method = attacked(name, attack_steps=3)
    trainable = TrainableEmbedder(toy_embedder(), method.part)
    batch_loss, seen = method.make_loss(trainable, DATA), seen_in_training(trainable)
    trainable.network.train()
    batch_loss(DATA.read(range(16)), CONTEXT).backward()
    (shown,) = seen
    changed = away(shown, DATA.images)
    assert float(changed.max()) <= EPS + 1e-6
    assert float(changed.min()) > EPS / 2
    assert torch.equal((shown * 255).round() / 255, shown)
    for parameter in trainable.parameters.values():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all())


@pytest.mark.parametrize("name", ["clean", *ATTACKING])
def test_the_attack_leaves_gradients_statistics_and_modes_alone(name: str) -> None:
    """All that the loss adds is what one pass in training mode over the same images adds."""
    method = made(name)
    trainable = TrainableEmbedder(toy_embedder(), method.part)
    batch_loss, seen = method.make_loss(trainable, DATA), seen_in_training(trainable)
    for parameter in trainable.parameters.values():
        parameter.grad = torch.full_like(parameter, 7.0)
    trainable.network.train()
    batch_loss(DATA.read(range(16)), CONTEXT)
    assert all(bool((p.grad == 7).all()) for p in trainable.parameters.values())  # type: ignore[union-attr]
    assert all(part.training for part in trainable.network.modules())
    other = toy_embedder()
    other.network.train()
    for x in seen:
        other.encode_image(x)
    assert torch.equal(
        trainable.embedder.network.norm.running_mean,  # type: ignore[attr-defined]
        other.network.norm.running_mean,
    )


@pytest.mark.parametrize("name", ["clean", *ATTACKING])
def test_a_sample_is_attacked_by_its_name_and_not_by_its_place(name: str) -> None:
    method = made(name)
    order = [5, 2, 9, 11, 0, 7]
    trainable = TrainableEmbedder(toy_embedder(), method.part)
    batch_loss = method.make_loss(trainable, DATA)
    values = []
    for rows in (order, order[::-1]):
        batch = DATA.read(rows)
        keys = Keys.of(0, batch.ids)
        values.append(float(batch_loss(batch, StepContext(keys, 0.5)).detach()))
    assert values[0] == pytest.approx(values[1], rel=1e-5)


@pytest.mark.parametrize("name", ATTACKING)
def test_the_attack_makes_the_loss_larger(name: str) -> None:
    values = []
    for eps in (0.01 / 255, EPS):
        method = made(name, eps=eps)
        batch_loss = method.make_loss(TrainableEmbedder(toy_embedder(), method.part), DATA)
        values.append(float(batch_loss(DATA.read(range(16)), CONTEXT).detach()))
    assert values[1] > values[0] * 1.5 + 0.1


def test_fare_keeps_to_what_the_original_saw_and_not_to_what_the_student_sees() -> None:
    method = made("fare", eps=1e-4, attack_steps=1)
    trainable = TrainableEmbedder(toy_embedder(), "image")
    batch_loss = method.make_loss(trainable, DATA)
    before = trainable.image_features(DATA.images).detach()
    with torch.no_grad():
        trainable.embedder.network.image.weight.mul_(2)  # type: ignore[attr-defined]
    found = float(batch_loss(DATA.read(range(16)), CONTEXT).detach())
    assert found == pytest.approx(float(fare_loss(2 * before, before).mean()), rel=1e-3)


@pytest.mark.parametrize("name", ["tecoa", "fare"])
def test_the_clean_share_mixes_both_losses(name: str) -> None:
    values = []
    for share in (0.0, 0.25, 1.0):
        method = attacked(name, clean_weight=share)
        batch_loss = method.make_loss(TrainableEmbedder(toy_embedder(), method.part), DATA)
        values.append(float(batch_loss(DATA.read(range(16)), CONTEXT).detach()))
    attacked_, mixed, clean = values
    assert mixed == pytest.approx(0.25 * clean + 0.75 * attacked_, rel=1e-5)
    assert clean < attacked_


def test_the_radius_grows_over_the_ramp() -> None:
    method = attacked("tecoa", ramp=0.5)
    make_loss, trainable = method.make_loss, TrainableEmbedder(toy_embedder(), "image")
    batch_loss, seen = make_loss(trainable, DATA), seen_in_training(trainable)
    trainable.network.train()
    for done in (0.0, 0.25, 0.5, 1.0):
        batch_loss(DATA.read(range(16)), CONTEXT._replace(progress=done))
    reach = [float(away(x, DATA.images).max()) * 255 for x in seen]
    assert reach == pytest.approx([0.0, 2.0, 4.0, 4.0], abs=1e-3)


@pytest.mark.parametrize("friendly", [True, False])
def test_a_friendly_attack_leaves_what_is_fooled_already_where_it_is(friendly: bool) -> None:
    """Who takes dark for bright is wrong at every start, so that no step is taken."""
    trainable, seen = TrainableEmbedder(toy_embedder(), "image"), []
    with torch.no_grad():
        trainable.embedder.network.image.weight.neg_()  # type: ignore[attr-defined]
    for steps in (1, 8):
        method = attacked("tecoa", attack_steps=steps, attack_step=EPS, friendly=friendly)
        batch_loss, shown = method.make_loss(trainable, DATA), seen_in_training(trainable)
        trainable.network.train()
        batch_loss(DATA.read(range(16)), CONTEXT)
        seen.append(shown[0])
    assert torch.equal(*seen) == friendly


@pytest.mark.parametrize(("field", "value"), [("ramp", 1.5), ("momentum", -1.0), ("eps", 2.0)])
def test_settings_out_of_range_are_named(field: str, value: float) -> None:
    with pytest.raises(InvalidInput, match=field):
        made("tecoa", **{field: value})


def graduate(method: Method, folder: Path, steps: int = 60) -> tuple[Validation, Validation]:
    """An embedder before and after its training."""
    trainable, data, held = (
        TrainableEmbedder(toy_embedder(), method.part),
        ToyDataset(200),
        ToyDataset(100, first=200),
    )
    training = Training(
        trainable=trainable,
        batch_loss=method.make_loss(trainable, data),
        dataset=data,
        config=TrainingConfig(steps=steps, batch=20, rate=0.05),
        checkpoint=Checkpoint(path=folder / "a.checkpoint", identity={}),
    )
    look = Validator(trainable, held, EPS)
    before = look()
    training.run(look, silent)
    return before, look()


def test_tecoa_teaches_to_look_at_what_an_attack_cannot_change(tmp_path: Path) -> None:
    """The small signal is right always and never under attack, the large one 9 times in 10."""
    before, after = graduate(attacked("tecoa", attack_steps=3), tmp_path)
    assert before.clean == 1 and before.attacked < 0.1
    assert after.attacked > 0.8


def test_retrieval_teaches_the_same(tmp_path: Path) -> None:
    _, after = graduate(attacked("tecoa-itr", attack_steps=3), tmp_path)
    assert after.attacked > 0.8


def test_clean_fine_tuning_does_not(tmp_path: Path) -> None:
    before, after = graduate(made("clean"), tmp_path)
    assert after.clean == 1 and after.attacked < 0.3
    assert before.attacked < 0.1


def test_fare_brings_attacked_vectors_nearer_to_the_clean_ones(tmp_path: Path) -> None:
    method = attacked("fare", attack_steps=3)
    trainable, data = TrainableEmbedder(toy_embedder(), "image"), ToyDataset(200)
    batch_loss = method.make_loss(trainable, data)
    batch = data.read(range(100))
    context = StepContext(Keys.of(3, batch.ids), 1.0)
    before = float(batch_loss(batch, context).detach())
    training = Training(
        trainable=trainable,
        batch_loss=batch_loss,
        dataset=data,
        config=TrainingConfig(steps=60, batch=20, rate=0.05),
        checkpoint=Checkpoint(path=tmp_path / "a.checkpoint", identity={}),
    )
    training.run(lambda: Validation(0, 0), silent)
    assert float(batch_loss(batch, context).detach()) < before / 3


def test_the_scale_is_the_models_own_unless_told() -> None:
    values = [
        float(
            replace(TeCoA(eps=EPS), scale=scale)
            .make_loss(TrainableEmbedder(toy_embedder(), "image"), DATA)(DATA.read(range(16)), CONTEXT)
            .detach()
        )
        for scale in (0.0, torch.tensor(2.0).exp().item(), 50.0)
    ]
    assert values[0] == pytest.approx(values[1])
    assert values[2] > values[0] * 2
