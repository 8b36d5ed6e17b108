"""The shipped embedder can be fooled, and the shipped consensus brings most of it back."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from secondlook.attacks.illusion import Illusion
from secondlook.data import load as load_data
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded
from secondlook.models import load
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.base import GuardedObjective
from secondlook.objectives.targeted import AlignEmbedding
from secondlook.randomness import Keys
from secondlook.threat import Threat

N = 32
ALL = range(N)


@pytest.fixture(scope="module")
def model() -> ZeroShot:
    source = load_data("scenes:val")
    return ZeroShot(load("scenes:clip"), source.classes, source.prompt)


@pytest.fixture(scope="module")
def scenes() -> tuple[Tensor, Tensor, Keys]:
    source = load_data("scenes:val")
    x, truth = source.read(ALL, (64, 64))
    return x, truth, Keys.of(0, source.ids[:N])


@pytest.fixture(scope="module")
def illusions(model: ZeroShot, scenes: tuple[Tensor, Tensor, Keys]) -> tuple[Tensor, Tensor]:
    x, truth, keys = scenes
    target = (truth + 9) % 64
    aim = GuardedObjective(
        goal=AlignEmbedding(vectors=model.class_features(target), classes=target), victim=Guarded(model)
    )
    return Illusion(steps=40)(aim, x, Threat(eps=8 / 255), keys).x, target


@pytest.mark.slow
def test_an_illusion_takes_the_bare_model_over(
    model: ZeroShot, scenes: tuple[Tensor, Tensor, Keys], illusions: tuple[Tensor, Tensor]
) -> None:
    attacked, target = illusions
    decision = Guarded(model).decide(attacked, scenes[2])
    assert (decision.answer == target).float().mean() >= 0.8


@pytest.mark.slow
@pytest.mark.parametrize("purifier", ["scenes:vae", "scenes:diffusion"])
def test_consensus_gives_most_of_them_back(
    purifier: str, model: ZeroShot, scenes: tuple[Tensor, Tensor, Keys], illusions: tuple[Tensor, Tensor]
) -> None:
    (attacked, target), (_, truth, keys) = illusions, scenes
    decision = Guarded(model, Consensus(purifier=purifier)).decide(attacked, keys)
    assert (decision.answer == target).float().mean() <= 0.2
    assert (decision.answer == truth).float().mean() >= 0.4


def test_early_stop_does_not_change_the_answer_of_a_real_model(
    model: ZeroShot, scenes: tuple[Tensor, Tensor, Keys]
) -> None:
    x, _, keys = scenes
    answers = [Guarded(model, Consensus(early_stop=stops)).decide(x[:8], keys[:8]).answer for stops in (True, False)]
    assert torch.equal(*answers)
