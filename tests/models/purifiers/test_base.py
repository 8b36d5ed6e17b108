"""Purifiers by a network: the frame of sizes around it, and noise in a latent."""

import pytest
import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.purifiers.base import Frame, Latent, LatentPurifier, own_deviation
from secondlook.randomness import Keys


def test_edges_are_repeated_to_the_multiple_and_cut_off_again() -> None:
    seen: list[Tensor] = []

    def body(x: Tensor) -> Tensor:
        seen.append(x)
        return x

    x = torch.rand(2, 3, 5, 9)
    out = Frame(multiple=4).around(body, x)
    assert seen[0].shape == (2, 3, 8, 12)
    assert torch.equal(seen[0][..., 4, :9], seen[0][..., 7, :9])
    assert torch.equal(out, x)


def test_a_single_pixel_is_enough() -> None:
    out = Frame(multiple=8).around(lambda inside: inside * 2, torch.full((1, 3, 1, 1), 0.25))
    assert torch.equal(out, torch.full((1, 3, 1, 1), 0.5))


def test_a_fixed_size_is_what_the_body_sees() -> None:
    sizes: list[torch.Size] = []
    Frame(size=(6, 4)).around(lambda x: (sizes.append(x.shape), x)[1], torch.rand(1, 3, 11, 3))
    assert sizes == [(1, 3, 6, 4)]


class Pixels(LatentPurifier):
    """The code is the image; its posterior has a deviation of 0.02."""

    def __init__(self, noise: float) -> None:
        super().__init__("pixels", (), noise=noise, frame=Frame())

    def encode(self, x: Tensor) -> Latent:
        return Latent(x, torch.full_like(x, 0.02))

    def decode(self, code: Tensor) -> Tensor:
        return code


X = torch.full((40, 3, 16, 16), 0.5)
KEYS = Keys.of(0, range(40))


@pytest.mark.parametrize("noise", [0.5, 1.0, 3.0])
def test_noise_counts_deviations_of_the_posterior(noise: float) -> None:
    moved = Pixels(noise).purify(X, KEYS) - X
    assert float(moved.std()) == pytest.approx(0.02 * noise, rel=0.02)
    assert abs(float(moved.mean())) < 1e-3


def test_without_noise_it_is_deterministic_and_says_so() -> None:
    still, loud = Pixels(0.0), Pixels(0.0).with_noise(2.0)
    assert not still.stochastic
    assert loud.stochastic
    assert torch.equal(still.purify(X, KEYS), X)
    assert still.noise == 0.0


def test_draws_belong_to_the_key_and_not_to_the_batch() -> None:
    purifier = Pixels(1.0)
    whole = purifier.purify(X, KEYS)
    parts = [purifier.purify(X[i : i + 7], KEYS[i : i + 7]) for i in range(0, 40, 7)]
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(whole[0], whole[1])
    assert not torch.equal(purifier.purify(X, KEYS.fold("another draw")), whole)


def test_a_code_without_posterior_is_measured_by_its_own_spread() -> None:
    code = torch.stack([torch.full((2, 2, 2), 3.0), torch.arange(8.0).view(2, 2, 2)])
    latent = own_deviation(code)
    assert latent.deviation.shape == (2, 1, 1, 1)
    assert latent.deviation.flatten().tolist() == pytest.approx([0.0, (63 / 12) ** 0.5])


@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf")])
def test_a_strength_that_is_none_is_refused(noise: float) -> None:
    with pytest.raises(InvalidInput, match="write a number from 0 to 100"):
        Pixels(1.0).with_noise(noise)
