"""Purifiers without weights: noise, fewer levels, a median, a blur, a small turn."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.base import Purifier
from secondlook.models.purifiers.filters import VIEWS, Blur, FewerLevels, MedianFilter, NoisePurifier, Turned
from secondlook.models.purifiers.soft import SoftPurifier
from secondlook.randomness import Keys
from tests.held import matches_differences

KEYS = Keys.of(0, range(3))
X = (KEYS.uniform((3, 12, 10)) * 255).floor() / 255


def test_levels_are_as_many_as_the_bits_say_and_the_nearest() -> None:
    seen = FewerLevels(3).purify(X, KEYS)
    assert torch.allclose((seen * 7).round(), seen * 7, atol=1e-5)
    assert float((seen - X).abs().max()) <= 0.5 / 7 + 1e-6
    assert torch.allclose(FewerLevels(8).purify(X, KEYS), X, atol=1e-6)
    assert FewerLevels(1).purify(X, KEYS).unique().tolist() == [0, 1]


def test_an_odd_median_is_that_of_scipy() -> None:
    wanted = ndimage.median_filter(X.numpy(), size=(1, 1, 3, 3), mode="mirror")
    assert np.allclose(MedianFilter(3).purify(X, KEYS), wanted)


def test_an_even_median_takes_out_a_single_bright_pixel() -> None:
    spot = torch.full((1, 3, 6, 6), 0.2)
    spot[..., 3, 3] = 1
    assert torch.equal(MedianFilter(2).purify(spot, KEYS[:1]), torch.full_like(spot, 0.2))


def test_the_blur_is_that_of_scipy_within_the_cut_of_its_tail() -> None:
    wanted = ndimage.gaussian_filter(X.numpy(), (0, 0, 1, 1), mode="mirror", truncate=3)
    assert np.allclose(Blur(1.0).purify(X, KEYS), wanted, atol=1e-5)


def test_a_turn_by_nothing_is_nothing_and_back_again_is_nearly_nothing() -> None:
    assert torch.allclose(Turned(0).purify(X, KEYS), X, atol=1e-5)
    smooth = Blur(2.0).purify(X, KEYS)
    back = Turned(-5).purify(Turned(5).purify(smooth, KEYS), KEYS)
    assert float((back - smooth)[..., 3:-3, 3:-3].abs().max()) < 0.03
    assert float((Turned(5).purify(smooth, KEYS) - smooth).abs().max()) > 0.02


@pytest.mark.parametrize("name", VIEWS)
def test_views_are_named_by_their_strength_and_do_not_feel_the_batch(name: str) -> None:
    view = VIEWS[name](5)
    assert view.name == f"{name}:5"
    assert not view.stochastic
    whole: Tensor = view.purify(X, KEYS)
    assert torch.allclose(whole[1:2], view.purify(X[1:2], KEYS[1:2]), atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [(FewerLevels, 9, "bits=9"), (MedianFilter, 1, "side=1"), (Blur, 0.0, "sigma=0"), (Turned, 90, "degrees=90")],
)
def test_a_strength_out_of_range_is_named(kind: type, value: float, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        kind(value)


@pytest.mark.parametrize(
    "purifier",
    [NoisePurifier(0.1), FewerLevels(4), MedianFilter(2), MedianFilter(3), Blur(1.0), Turned(5)],
    ids=lambda purifier: purifier.name,
)
def test_the_gradient_is_that_of_finite_differences(monkeypatch: pytest.MonkeyPatch, purifier: Purifier) -> None:
    x = Keys.of(8, range(3)).uniform((3, 12, 10)).double()
    function = purifier.soft if isinstance(purifier, SoftPurifier) else purifier.reconstruct
    matches_differences(monkeypatch, lambda x: function(x, KEYS), x)


@pytest.mark.parametrize("bits", [1, 5, 8])
def test_fewer_levels_are_differentiated_in_smooth_steps(bits: int) -> None:
    """What decides is on a level; half-way between two the slope is steepest, and nowhere zero."""
    x = X.clone().requires_grad_()
    purifier, levels = FewerLevels(bits), 2**bits - 1
    out = purifier.purify(x, KEYS)
    assert torch.equal(out, purifier.purify(X, KEYS))
    (slope,) = torch.autograd.grad(out.sum(), x)
    cut = X * levels - (X * levels).round()
    assert torch.allclose(slope, 0.2 + 3 * cut.square(), atol=1e-4)
