"""CLIPure-Diff: its priors, and where ten steps of the published length lead."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.clipure_diff import ClipureDiff, ExactPrior, TowardsClean, surprise
from secondlook.defenses.test_time.learned import Learned
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, directions
from tests.defenses.test_time.scenes import KEYS, X, clip, fooled, gradients
from tests.tiny import eye

SMALL = ClipureDiff()
EXACT = ClipureDiff(prior="exact", clean_samples=20)


def test_the_exact_prior_is_the_expectation_over_what_is_known() -> None:
    known = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    noised, share = torch.tensor([[0.6, 0.2]]), torch.tensor([[0.5]])
    far = [((noised - math.sqrt(0.5) * math.sqrt(2) * one) ** 2).sum() / (2 * 0.5) for one in known]
    beliefs = torch.stack([-each for each in far]).softmax(0)
    found = ExactPrior(known)(noised, share)
    assert torch.allclose(found[0], math.sqrt(2) * beliefs, atol=1e-6)
    near = surprise(ExactPrior(known), known, torch.tensor([[0.999]]), torch.zeros(2, 2))
    assert float(near.max()) < 1e-3


def prior_of_one(cosine: float, settings: ClipureDiff) -> Tensor:
    """The cosines of purified vectors to what they were, where the prior is one vector, which they had a cosine to."""
    drawn = F.normalize(Keys.of(0, range(5)).normal((768,)).double(), dim=1)
    clean, rest = drawn[0], drawn[1:] - (drawn[1:] @ drawn[0])[:, None] * drawn[0]
    start = cosine * clean + math.sqrt(1 - cosine**2) * F.normalize(rest, dim=1)
    work = TowardsClean(eye(), ExactPrior(clean[None]), settings)
    return (work.purified(start, Keys.of(0, range(4))).detach() * start).sum(1)


def test_with_a_denoiser_that_says_always_the_same_ten_steps_lead_nearly_back() -> None:
    for cosine, golden in ((0.15, 0.9240), (0.2, 0.9422), (0.3, 0.9717), (0.4, 0.9913)):
        back = prior_of_one(cosine, ClipureDiff())
        assert back.tolist() == pytest.approx([golden] * 4, abs=2e-4), cosine
    assert float(prior_of_one(0.2, ClipureDiff(steps=9)).max()) < 0.5


def adaptation(settings: ClipureDiff, name: str = "scenes:clip") -> TowardsClean:
    found = Guarded(clip(name), settings).adaptation
    assert isinstance(found, TowardsClean)
    return found


def test_small_steps_lead_towards_what_is_known() -> None:
    vectors, exact = clip().embedder.embed(X).detach(), adaptation(EXACT).prior
    assert isinstance(exact, ExactPrior)
    middle = F.normalize(exact.known.mean(0), dim=0)
    for settings in (SMALL, EXACT):
        found = adaptation(replace(settings, steps=3, step=0.1)).purified(vectors, KEYS).detach()
        assert bool((found @ middle > vectors @ middle).all())


def test_the_trained_prior_is_a_part_of_the_defense_and_the_exact_one_stands_in_for_it() -> None:
    for name in ("scenes:clip", "scenes:clip-vit"):
        (part,) = adaptation(SMALL, name).parts
        assert isinstance(part, Learned) and part.name.startswith(f"prior of {name}")
    assert adaptation(EXACT).parts == ()
    assert isinstance(adaptation(ClipureDiff(clean_samples=20), "scenes:clip-mixer").prior, ExactPrior)


@pytest.mark.parametrize("settings", [SMALL, EXACT])
def test_neighbors_are_felt_in_the_published_form_alone(settings: ClipureDiff) -> None:
    victim = Guarded(clip(), settings)
    assert float(coupling(victim, X[:4], KEYS[:4], kept=2).max()) < COUPLED
    published = replace(settings, legacy_batch_norm=True)
    assert float(coupling(Guarded(clip(), published), X[:4], KEYS[:4], kept=2).max()) > COUPLED


@pytest.mark.parametrize("settings", [SMALL, EXACT])
def test_it_runs_under_attack_and_the_published_gradient_is_none(settings: ClipureDiff) -> None:
    full, _ = gradients(settings)
    detached, _ = gradients(replace(settings, legacy_detached=True))
    assert float(detached.norm() / full.norm()) < 1e-6
    assert fooled(settings) >= 1


def test_models_without_vectors_and_moments_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidInput, match="clipure-diff works with the vectors of an embedder"):
        Guarded(LinearClassifier(directions(3)), ClipureDiff())
    with pytest.raises(InvalidInput, match="first_moment=1000"):
        ClipureDiff(first_moment=1000)
