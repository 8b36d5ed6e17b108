"""Diffusion as a purifier, against data whose best denoiser is known in closed form."""

import math

import pytest
import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.purifiers.base import Frame
from secondlook.models.purifiers.diffusion import DiffusionPurifier
from secondlook.randomness import Keys

KEPT = torch.cumprod(1 - torch.linspace(1e-4, 0.02, 1000, dtype=torch.float64), 0).tolist()


class OnePicture(DiffusionPurifier):
    """The best denoiser of a world with one flat picture; keeps what it is shown."""

    def __init__(self, value: float, noise: float = 0.3, strides: int = 4) -> None:
        self.value, self.shown = value, dict[int, Tensor]()
        super().__init__("one picture", (), kept=KEPT, noise=noise, strides=strides, frame=Frame())

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        self.shown[int(t[0])] = x
        kept = KEPT[int(t[0])]
        return (x - math.sqrt(kept) * self.value) / math.sqrt(1 - kept)


class Smooth(DiffusionPurifier):
    """A smooth, nonlinear denoiser, for derivatives."""

    def __init__(self, noise: float = 0.05) -> None:
        super().__init__("smooth", (), kept=KEPT, noise=noise, strides=3, frame=Frame())

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(0.3 * x + 1e-3 * t.view(-1, 1, 1, 1))


def test_in_a_world_of_one_picture_everything_becomes_that_picture() -> None:
    x = torch.rand(3, 3, 4, 4, dtype=torch.float64)
    out = OnePicture(0.5).purify(x, Keys.of(0, range(3)))
    assert torch.allclose(out, torch.full_like(x, 0.75), atol=1e-9)


@pytest.mark.parametrize("strides", [2, 4, 9])
def test_each_stride_lands_on_the_marginal_of_its_step(strides: int) -> None:
    world = OnePicture(0.5, noise=0.4, strides=strides)
    world.purify(torch.full((64, 3, 16, 16), 0.75), Keys.of(0, range(64)))
    assert list(world.shown) == world.times
    for t, x in world.shown.items():
        assert float(x.mean()) == pytest.approx(math.sqrt(KEPT[t]) * 0.5, abs=0.01)
        assert float(x.std()) == pytest.approx(math.sqrt(1 - KEPT[t]), rel=0.02)


def test_the_steps_fall_from_t_star_and_stay_above_zero() -> None:
    assert OnePicture(0, noise=0.12).times == [120, 90, 60, 30]
    assert OnePicture(0, noise=0.001).times[0] == 1
    assert min(OnePicture(0, noise=0.002, strides=4).times) >= 0
    assert OnePicture(0, noise=1.0, strides=1).times == [999]


def test_the_gradient_is_the_derivative() -> None:
    x = torch.rand(2, 3, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    x = (0.3 + 0.4 * x).requires_grad_(True)
    keys = Keys.of(0, range(2))
    assert torch.autograd.gradcheck(lambda v: Smooth(0.02).reconstruct(v, keys), (x,))


def test_draws_belong_to_the_key_and_not_to_the_batch() -> None:
    x, keys = torch.rand(5, 3, 8, 8), Keys.of(7, "abcde")
    whole = Smooth().purify(x, keys)
    order = torch.tensor([3, 1, 4])
    assert torch.equal(Smooth().purify(x[order], keys[order]), whole[order])
    assert torch.equal(Smooth().purify(x, keys), whole)
    assert not torch.equal(Smooth().purify(x, keys.fold("again")), whole)


def test_more_noise_moves_pixels_further() -> None:
    x, keys = torch.full((4, 3, 8, 8), 0.5), Keys.of(0, range(4))
    purifier = Smooth()
    moved = [float((purifier.with_noise(n).purify(x, keys) - x).abs().mean()) for n in (0.01, 0.1, 0.4)]
    assert moved == sorted(moved)
    assert moved[2] > 2 * moved[0]


@pytest.mark.parametrize("noise", [0.0, 0.0001, 1.5, float("nan")])
def test_t_star_outside_the_schedule_is_refused(noise: float) -> None:
    with pytest.raises(InvalidInput, match="a share of 1000 steps"):
        Smooth().with_noise(noise)


def test_no_strides_are_refused() -> None:
    with pytest.raises(InvalidInput, match="strides=0"):
        OnePicture(0, strides=0)
