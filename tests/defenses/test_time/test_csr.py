"""CSR: its filter, its gate, the best iterate, and the scale that neighbors changed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from secondlook.attacks.base import differentiate
from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.csr import CSR, Rectification, low_pass
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, directions, images
from tests.closeness import same
from tests.defenses.test_time.scenes import KEYS, X, clip
from tests.tiny import COLORS, Compass

ALWAYS = CSR(flag_below=1.1)
"""Every image is flagged."""


class Corner(Compass):
    """Sees the color of one pixel, which a low-pass filter changes; its vectors have lengths of their own."""

    def encode_image(self, x: Tensor) -> Tensor:
        return x[..., 0, 0] - 0.3


def rectified(settings: CSR) -> Rectification:
    found = Guarded(clip(), settings).adaptation
    assert isinstance(found, Rectification)
    return found


def test_the_filter_leaves_what_is_constant_and_nothing_but_that_at_radius_nought() -> None:
    flat = torch.tensor([0.2, 0.9, 0.4]).view(1, 3, 1, 1).expand(2, 3, 20, 30)
    assert torch.allclose(low_pass(flat, 40.0), flat, atol=1e-6)
    assert torch.allclose(low_pass(X, 1e6), X, atol=1e-5)
    assert torch.allclose(low_pass(X, 1e-3), X.mean((2, 3), keepdim=True).expand_as(X), atol=1e-5)


def test_a_wave_is_damped_as_a_gaussian_says() -> None:
    """At 40 of 224 cycles the gain is exp(-1/2), at any size."""
    for side in (56, 224):
        wave = 0.5 + 0.25 * torch.cos(2 * torch.pi * torch.arange(side) * 40 / 224)
        found = low_pass(wave.expand(1, 3, side, side), 40.0)
        assert torch.allclose(found - 0.5, (wave - 0.5) * torch.tensor(-0.5).exp(), atol=1e-5)


def test_a_radius_without_end_flags_nobody() -> None:
    guarded = Guarded(clip(), CSR(radius=1e6))
    assert same(guarded.decide(X, KEYS).scores, guarded.undefended.decide(X, KEYS).scores)
    assert not guarded.stochastic


def test_what_is_flagged_moves_and_the_rest_stays() -> None:
    own, filtered = rectified(ALWAYS).anchors(X)
    cosines = (own * filtered).sum(1)
    half = rectified(CSR(flag_below=float(cosines.median()) + 1e-5))
    moved = (half.counter(X, KEYS).detach() - X).flatten(1).abs().amax(1)
    assert torch.equal(moved > 0, half.flagged(own, filtered))
    assert 0 < int((moved > 0).sum()) < len(X)
    assert float(moved.max()) <= 4 / 255 + 1e-6


def test_the_best_iterate_is_no_worse_than_the_start_and_than_fewer_steps() -> None:
    def contrast(x: Tensor) -> Tensor:
        own, filtered = rectified(ALWAYS).anchors(X)
        return (clip().embedder.embed(x) * (filtered - own)).sum(1)

    start = contrast(X)
    one, three = (contrast(rectified(replace(ALWAYS, steps=n)).counter(X, KEYS)) for n in (1, 3))
    far = contrast(rectified(replace(ALWAYS, step=1.0, eps=1.0, steps=2)).counter(X, KEYS))
    assert bool((one >= start - 1e-6).all() and (three >= one - 1e-6).all() and (far >= start - 1e-6).all())
    assert bool((three > start + 1e-3).any())


def test_the_gradient_straight_through_is_the_one_of_the_unrolled_loop() -> None:
    guarded = Guarded(clip(), ALWAYS)
    x, keys = (X[:3] * 0.8 + 0.1).requires_grad_(), KEYS[:3]
    assert isinstance(guarded.adaptation, Rectification)
    unrolled = clip()(guarded.adaptation.counter(x, keys)).sum(1)
    through = guarded.surrogate(x, keys, gradient="bpda").scores.sum((1, 2))
    assert same(through, unrolled)
    past, whole = differentiate(through, x), differentiate(unrolled, x)
    assert float((past - whole).norm() / whole.norm()) < 1e-4
    assert torch.equal(differentiate(guarded.surrogate(x, keys).scores.sum((1, 2)), x), past)


def test_the_published_scale_depends_on_neighbors_and_ours_does_not() -> None:
    model = ZeroShot(Corner("tiny:corner"), COLORS)
    x, keys = images(8), Keys.of(0, range(8))
    x[0] = 0.7
    for settings, coupled in ((CSR(), False), (CSR(legacy_scale=True), True)):
        moved = coupling(Guarded(model, settings), x, keys)
        assert bool((moved > COUPLED).any()) is coupled, moved
    alone = Guarded(model, CSR(legacy_scale=True)).decide(x[:1], keys[:1]).scores
    assert same(alone, Guarded(model).decide(x[:1], keys[:1]).scores)
    assert float(coupling(Guarded(clip(), CSR()), X[:3], KEYS[:3], kept=1).max()) < COUPLED


def test_it_costs_what_it_says() -> None:
    with counting() as ledger:
        Guarded(clip(), CSR()).decide(X, KEYS)
    assert (ledger.forwards, ledger.backwards) == (7 * len(X), 3 * len(X))


def test_models_without_vectors_are_refused() -> None:
    with pytest.raises(InvalidInput, match="csr works with the vectors of an embedder"):
        Guarded(LinearClassifier(directions(3)), CSR())
