"""TTC: its weights, its gate, its budget, and the gradient of a loop of sign steps."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from secondlook.attacks.base import differentiate
from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.ttc import TTC, Counterattack, step_weights
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models.base import Embedder
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, directions, images
from tests.closeness import same
from tests.defenses.test_time.scenes import KEYS, X, clip
from tests.tiny import COLORS, Compass, eye, other

LOOSE = TTC(stable_below=9.0)
"""Every image counts as stable, and is counterattacked."""
FIRM = TTC(stable_below=0.0)
"""No image does."""
INSIDE = X * 0.8 + 0.1


def attack(settings: TTC, embedder: Embedder | None = None) -> Counterattack:
    found = Guarded(ZeroShot(embedder or eye(), COLORS), settings).adaptation
    assert isinstance(found, Counterattack)
    return found


def nudge(x: Tensor, keys: Keys, eps: float = 4 / 255) -> Tensor:
    return (x + eps * (2 * keys.fold("nudge").uniform(x.shape[1:]) - 1)).clamp(0, 1)


def test_later_steps_weigh_more() -> None:
    assert step_weights(2, 2.0).tolist() == pytest.approx([0.01588, 0.11731, 0.86681], abs=1e-5)
    assert step_weights(0, 2.0).tolist() == [1.0]


def test_what_is_not_stable_keeps_the_nudge_alone() -> None:
    x, keys = images(5), Keys.of(0, range(5))
    assert torch.allclose(attack(FIRM).counter(x, keys), nudge(x, keys))
    assert torch.allclose(attack(replace(LOOSE, steps=0)).counter(x, keys), nudge(x, keys))


def test_the_counterattack_is_the_mean_of_signed_steps_away() -> None:
    """The distance of a mean color is driven away, per channel, to where the nudge leads."""
    x, keys = images(5), Keys.of(0, range(5))
    start, weights = nudge(x, keys), step_weights(2, 2.0)
    away = (start - x).mean((2, 3), keepdim=True).sign()
    first = (start - x + away / 255).clamp(-4 / 255, 4 / 255)
    second = (first + away / 255).clamp(-4 / 255, 4 / 255)
    wanted = x + weights[0] * (start - x) + weights[1] * first + weights[2] * second
    found = attack(LOOSE).counter(x, keys)
    assert torch.allclose(found, wanted, atol=1e-6)
    assert float((found - x).detach().abs().max()) <= 4 / 255 + 1e-6


def test_the_gate_is_the_share_by_which_the_nudge_moves_the_vector() -> None:
    x, keys = images(40), Keys.of(0, range(40))
    raw = eye().raw_vectors
    share = (raw(nudge(x, keys)) - raw(x)).norm(dim=1) / raw(x).norm(dim=1)
    middle = float(share.median())
    found = attack(TTC(stable_below=middle)).counter(x, keys)
    kept = (found - nudge(x, keys)).abs().flatten(1).amax(1) < 1e-6
    assert torch.equal(kept, share >= middle)
    by_another = attack(TTC(stable_below=middle, original=Compass("tiny:gate", tilt=3.0)))
    assert [part.name for part in by_another.parts] == ["tiny:gate"]
    assert not torch.equal((by_another.counter(x, keys) - nudge(x, keys)).abs().flatten(1).amax(1) < 1e-6, kept)


def test_without_a_budget_nothing_defends() -> None:
    guarded = Guarded(ZeroShot(eye(), COLORS), TTC(eps=0.0))
    x, keys = images(5), Keys.of(0, range(5))
    assert same(guarded.decide(x, keys).scores, guarded.undefended.decide(x, keys).scores)
    assert not guarded.stochastic and Guarded(eye(), TTC()).stochastic


def test_the_gradient_straight_through_is_the_one_of_the_unrolled_loop() -> None:
    guarded = Guarded(clip(), LOOSE)
    x, keys = INSIDE[:3].clone().requires_grad_(), KEYS[:3]
    assert isinstance(guarded.adaptation, Counterattack)
    unrolled = clip()(guarded.adaptation.counter(x, keys.repeat(1).fold("adapt"))).sum(1)
    through = guarded.surrogate(x, keys, gradient="bpda").scores.sum((1, 2))
    assert same(through, unrolled)
    past, whole = differentiate(through, x), differentiate(unrolled, x)
    assert float((past - whole).norm() / whole.norm()) < 1e-4
    assert torch.equal(differentiate(guarded.surrogate(x, keys).scores.sum((1, 2)), x), past)


def test_it_costs_four_forwards_and_two_backwards_and_feels_no_neighbor() -> None:
    guarded = Guarded(clip(), TTC())
    with counting() as ledger:
        guarded.decide(X, KEYS)
    assert (ledger.forwards, ledger.backwards) == (4 * len(X), 2 * len(X))
    assert float(coupling(guarded, X[:3], KEYS[:3], kept=1).max()) < COUPLED
    order = torch.tensor([3, 1, 0, 2, 7, 6, 5, 4])
    simple = Guarded(ZeroShot(other(), COLORS), LOOSE)
    assert same(simple.decide(X[order], KEYS[order]).scores, simple.decide(X, KEYS).scores[order])


def test_models_without_vectors_and_gates_that_are_none_are_refused() -> None:
    with pytest.raises(InvalidInput, match="ttc works with the vectors of an embedder"):
        Guarded(LinearClassifier(directions(3)), TTC())
    with pytest.raises(InvalidInput, match=r"original=.scenes:vae. is no embedder"):
        Guarded(eye(), TTC(original="scenes:vae"))
