"""The shipped classifiers: what they know, what an attack leaves of it, and how they are asked."""

import json
from importlib.resources import files
from typing import Any

import pytest
import torch
from torch import Tensor

from secondlook.attacks.pgd import PGD
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.models.base import Classifier
from secondlook.randomness import Keys
from secondlook.scenes.captions import class_names
from secondlook.scenes.source import render_batch
from secondlook.scenes.training.losses import CrossEntropy
from secondlook.threat import Threat

NAMES = ("scenes:classifier", "scenes:classifier-at")
EPS = 8 / 255


@pytest.fixture(scope="module")
def scenes() -> tuple[Tensor, Tensor]:
    found = render_batch(0, "test", range(200))
    return torch.from_numpy(found.images).permute(0, 3, 1, 2) / 255, torch.from_numpy(found.labels)


def right(model: Classifier, x: Tensor, truth: Tensor) -> Tensor:
    with torch.no_grad():
        return model(x).argmax(1) == truth


def card(name: str) -> dict[str, Any]:
    path = files("secondlook.scenes") / "weights" / f"{name.removeprefix('scenes:')}.json"
    found: dict[str, Any] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize(("name", "floor"), [(NAMES[0], 0.95), (NAMES[1], 0.6)])
def test_it_names_the_main_thing_as_its_card_says(name: str, floor: float, scenes: tuple[Tensor, Tensor]) -> None:
    share = float(right(load(name), *scenes).float().mean())
    assert share >= floor
    assert abs(share - card(name)["measured"]["top1"]) < 0.1


def test_adversarial_training_withstands_what_standard_training_does_not(scenes: tuple[Tensor, Tensor]) -> None:
    x, truth = (each[:64] for each in scenes)
    left = []
    for name in NAMES:
        model = load(name)
        objective = CrossEntropy(network=model.network, truth=truth)
        found = PGD(steps=10)(objective, x, Threat(eps=EPS), Keys.of(0, range(64)))
        left.append(float(right(model, found.x, truth).float().mean()))
    standard, hardened = left
    assert standard <= 0.1
    assert hardened >= standard + 0.15


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_is_the_slope(name: str, scenes: tuple[Tensor, Tensor]) -> None:
    model, x = load(name), scenes[0][:1].clone().requires_grad_()
    (gradient,) = torch.autograd.grad(model(x)[0, :8].sum(), x)
    step = 0.002 * gradient / gradient.norm()
    with torch.no_grad():
        rise = model((x + step).clamp(0, 1)) - model((x - step).clamp(0, 1))
    assert gradient.norm() > 0
    assert float(rise[0, :8].sum() / 0.004) == pytest.approx(float(gradient.norm()), rel=0.05)
    assert all(p.grad is None and not p.requires_grad for p in model.network.parameters())


def test_scores_are_those_of_the_features_at_any_size(scenes: tuple[Tensor, Tensor]) -> None:
    model = load(NAMES[0])
    assert model.classes == class_names()
    small = torch.nn.functional.avg_pool2d(scenes[0][:2], 2)
    with torch.no_grad(), counting() as ledger:
        features = model.features(small)
        scores = model.scores(features[:, None])
        assert torch.equal(scores[:, 0], model(small))
    assert features.shape == (2, 128)
    assert scores.shape == (2, 1, 64)
    assert ledger.by_model == {NAMES[0]: [4, 0]}


def test_each_has_weights_and_a_hash_of_its_own() -> None:
    assert len({load(name).hash for name in NAMES}) == 2
    assert [card(name)["role"] for name in NAMES] == ["classifier", "classifier"]
    assert all(card(name)["parameters"] < 500_000 for name in NAMES)
