"""Hedge defense ascends the cross-entropies to all classes at once, within its ball."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from secondlook.attacks.base import differentiate
from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.hedge import AgainstAll, Hedge, against_all
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, directions, images
from tests.closeness import same
from tests.defenses.test_time.scenes import KEYS, X, clip
from tests.tiny import eye

SHORT = Hedge(steps=2, step=1 / 255)


def ascent(guarded: Guarded) -> AgainstAll:
    assert isinstance(guarded.adaptation, AgainstAll)
    return guarded.adaptation


def test_the_gradient_of_its_loss_is_k_times_the_probabilities_less_one() -> None:
    logits = Keys.of(0, range(5)).normal((7,)).double().requires_grad_()
    found = differentiate(against_all(logits), logits)
    assert torch.allclose(found, 7 * logits.softmax(1) - 1)
    wanted = -logits.log_softmax(1).sum(1)
    assert torch.allclose(against_all(logits), wanted)


def test_a_linear_model_of_two_classes_is_moved_to_its_own_answer() -> None:
    """Of two classes the sum of the cross-entropies grows with the lead, on either side."""
    model, x, keys = LinearClassifier(directions(2)), images(12), Keys.of(0, range(12))
    guarded = Guarded(model, Hedge(eps=2 / 255, steps=4, step=4 / 255))
    found = ascent(guarded).counter(x, keys)
    start = model((x + 2 / 255 * (2 * keys.fold("start").uniform(x.shape[1:]) - 1)).clamp(0, 1)).argmax(1)
    lead = model.weights[start] - model.weights[1 - start]
    assert torch.allclose(found, (x + 2 / 255 * lead.sign()).clamp(0, 1), atol=1e-6)


def test_it_stays_in_its_ball_and_its_loss_grows() -> None:
    guarded = Guarded(clip(), SHORT)
    none = ascent(Guarded(clip(), replace(SHORT, step=1e-9))).counter(X, KEYS)
    found = ascent(guarded).counter(X, KEYS)
    assert float((found - X).detach().abs().max()) <= 8 / 255 + 1e-6
    before, after = (against_all(clip()(at) / 0.01) for at in (none, found))
    assert bool((after > before).all())


def test_the_gradient_straight_through_is_the_one_of_the_unrolled_loop() -> None:
    guarded = Guarded(clip(), SHORT)
    x, keys = (X[:3] * 0.8 + 0.1).requires_grad_(), KEYS[:3]
    unrolled = clip()(ascent(guarded).counter(x, keys.repeat(1).fold("adapt"))).sum(1)
    through = guarded.surrogate(x, keys, gradient="bpda").scores.sum((1, 2))
    assert same(through, unrolled)
    past, whole = differentiate(through, x), differentiate(unrolled, x)
    assert float((past - whole).norm() / whole.norm()) < 1e-4


def test_its_cost_its_draws_and_its_neighbors() -> None:
    guarded = Guarded(clip(), SHORT)
    with counting() as ledger:
        guarded.decide(X, KEYS)
    assert (ledger.forwards, ledger.backwards) == (3 * len(X), 2 * len(X))
    assert guarded.stochastic and not Guarded(clip(), replace(SHORT, eps=0.0)).stochastic
    assert not same(guarded.decide(X, KEYS.fold("other")).scores, guarded.decide(X, KEYS).scores)
    assert float(coupling(guarded, X[:3], KEYS[:3], kept=1).max()) < COUPLED


def test_models_without_classes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="hedge works with the scores of classes, and tiny:eye has none"):
        Guarded(eye(), Hedge())
