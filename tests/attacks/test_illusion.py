"""The published schedule, its JPEG variant, and steps taken for several models in turn."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from secondlook.attacks.illusion import Illusion
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models.purifiers.jpeg import compress, soft_jpeg
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.base import Ensemble, GuardedObjective
from secondlook.objectives.targeted import AlignEmbedding, Targeted
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import Bowl, ColorEmbedder, LinearClassifier, directions, images

KEYS = Keys.of(0, range(3))
STEP = 1 / 255


def levels(x: Tensor) -> list[list[int]]:
    return (x * 255).round().int().flatten(1).tolist()


def test_the_defaults_are_the_published_ones() -> None:
    attack = Illusion()
    assert (attack.decay, attack.decay_every) == (0.9, 300)
    assert (attack.random_start, attack.keep_best, attack.early_exit) == (False, False, False)
    assert (attack.momentum, attack.jpeg, attack.ensemble) == (0, 0, "sequential")
    # 0.02 where CLIP has divided by the deviations of its channels, here taken back to pixels.
    deviations = (0.26862954, 0.26130258, 0.27577711)
    assert attack.step == pytest.approx(0.02 * sum(deviations) / 3, rel=2e-3)
    assert 255 * attack.step == pytest.approx(1.37, abs=5e-3)


@pytest.mark.parametrize("color", [0, 1, 2])
def test_an_illusion_is_embedded_where_it_should_be(color: int) -> None:
    """A linear embedder's optimum: that channel up by eps, both others down."""
    model = ZeroShot(ColorEmbedder(), ColorEmbedder.words)
    classes = torch.full((3,), color)
    goal = AlignEmbedding(vectors=model.class_features(classes), classes=classes)
    aim = GuardedObjective(goal=goal, victim=Guarded(model))
    found = Illusion(steps=20)(aim, images(3), Threat(eps=8 / 255), KEYS)
    push = torch.full((3, 1, 1), -8 * STEP)
    push[color] = 8 * STEP
    assert levels(found.x) == levels(images(3) + push)
    assert bool((found.trace.last_loss > found.trace.first_loss).all())


# --- JPEG --------------------------------------------------------------------------------------


@pytest.mark.parametrize("quality", [80, 30])
def test_the_gradient_is_taken_at_the_compressed_image_and_goes_back_through_the_codec(quality: int) -> None:
    """At the clean image itself this bowl has no gradient at all."""
    clean = images(3, low=20, high=236)
    bowl = Bowl(center=clean)
    attack = Illusion(steps=1, step=STEP, jpeg=quality)
    found = attack(bowl, clean, Threat(eps=8 / 255), KEYS)
    seen = compress(clean, quality)
    assert bool((seen != clean).any())
    x = clean.clone().requires_grad_()
    (back,) = torch.autograd.grad(((clean - seen) * soft_jpeg(x, quality)).sum(), x)
    assert levels(found.x) == levels(clean + STEP * back.sign())
    assert torch.equal(found.trace.first_loss, bowl(seen, KEYS).loss)


@pytest.mark.parametrize("quality", [-5, 96, 101])
def test_a_jpeg_that_pillow_does_not_have_is_refused(quality: int) -> None:
    with pytest.raises(InvalidInput, match=f"jpeg={quality}; write a number from 0 to 95"):
        Illusion(jpeg=quality)


def test_without_jpeg_the_image_is_seen_as_it_is() -> None:
    clean = images(3)
    found = Illusion(steps=1)(Bowl(center=clean), clean, Threat(), KEYS)
    assert torch.equal(found.x, clean)
    assert found.trace.zero_gradient.tolist() == [1, 1, 1]


# --- ensembles ---------------------------------------------------------------------------------


def duel(ensemble: Literal["sequential", "mean"]) -> tuple[Ensemble, Tensor, Tensor]:
    """Two linear victims, the second with a gradient a hundred times as long."""
    first, second = directions(1, seed=1), 100 * directions(1, seed=2)
    members = tuple(
        GuardedObjective(
            goal=Targeted(classes=torch.zeros(3, dtype=torch.long), temperature=1e4),
            victim=Guarded(LinearClassifier(torch.cat([w, -w]), name)),
        )
        for name, w in {"first": first, "second": second}.items()
    )
    return Ensemble(members=members, split=ensemble == "sequential"), first, second


def test_a_sequential_ensemble_takes_a_step_for_each_member() -> None:
    both, first, second = duel("sequential")
    with counting() as ledger:
        found = Illusion(steps=2, step=2 * STEP)(both, images(3), Threat(eps=16 / 255), KEYS)
    assert levels(found.x) == levels(images(3) + 4 * STEP * (first.sign() + second.sign()))
    assert ledger.by_model == {"first": [6, 6], "second": [6, 6]}
    assert found.trace.steps.tolist() == [4, 4, 4]


def test_a_mean_ensemble_takes_one_step_for_all() -> None:
    both, first, second = duel("mean")
    with counting() as ledger:
        found = Illusion(steps=2, step=2 * STEP)(both, images(3), Threat(eps=16 / 255), KEYS)
    assert levels(found.x) == levels(images(3) + 4 * STEP * (first + second).sign())
    assert ledger.by_model == {"first": [6, 6], "second": [6, 6]}


def test_nobody_leaves_early_before_all_members_were_asked() -> None:
    both, _, _ = duel("sequential")
    with pytest.raises(InvalidInput, match="compare losses of one objective"):
        Illusion(early_exit=True)(both, images(3), Threat(), KEYS)
