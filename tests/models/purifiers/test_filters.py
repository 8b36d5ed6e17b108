"""Purifiers without weights: JPEG, fewer levels, a median, a blur, a small turn."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.purifiers.filters import (
    VIEWS,
    Blur,
    FewerLevels,
    JpegPurifier,
    MedianFilter,
    Turned,
    compress,
    straight_through,
)
from secondlook.randomness import Keys

KEYS = Keys.of(0, range(2))


@pytest.fixture
def x() -> Tensor:
    return torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(3))


def test_it_is_pillows_own_codec(x: Tensor) -> None:
    pixels = (x[1] * 255).round().byte().permute(1, 2, 0).numpy()
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, format="JPEG", quality=50)
    read = torch.from_numpy(np.array(Image.open(held))).permute(2, 0, 1) / 255
    assert torch.equal(JpegPurifier(50).purify(x, KEYS)[1], read)


def test_lower_quality_moves_pixels_further(x: Tensor) -> None:
    moved = [float((compress(x, quality) - x).abs().mean()) for quality in (95, 75, 30, 5)]
    assert moved == sorted(moved)


def test_straight_through_has_the_value_of_one_and_the_gradient_of_the_other(x: Tensor) -> None:
    x.requires_grad_(True)
    weight = torch.rand(x.shape, generator=torch.Generator().manual_seed(4))
    out = straight_through(x, compress(x, 20))
    assert torch.allclose(out, compress(x, 20), atol=1e-6)
    (grad,) = torch.autograd.grad((weight * out).sum(), x)
    assert torch.equal(grad, weight)


def test_it_says_that_it_is_deterministic_and_has_no_gradient(x: Tensor) -> None:
    purifier = JpegPurifier()
    assert not purifier.stochastic
    assert not purifier.differentiable
    assert torch.equal(purifier.purify(x, KEYS), purifier.purify(x, KEYS.fold("again")))
    with pytest.raises(InvalidInput, match="no noise to tune"):
        purifier.with_noise(0.5)


@pytest.mark.parametrize("quality", [0, 96])
def test_quality_outside_pillows_range_is_refused(quality: int) -> None:
    with pytest.raises(InvalidInput, match="outside 1 to 95"):
        JpegPurifier(quality)


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
