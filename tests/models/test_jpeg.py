"""JPEG as a purifier: the codec's own pixels, and a gradient that goes straight past it."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.jpeg import JpegPurifier, compress, straight_through
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
        purifier.tuned(0.5)


@pytest.mark.parametrize("quality", [0, 96])
def test_quality_outside_pillows_range_is_refused(quality: int) -> None:
    with pytest.raises(InvalidInput, match="outside 1 to 95"):
        JpegPurifier(quality)
