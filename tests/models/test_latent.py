"""Purification through a latent, on codes whose statistics are known."""

import pytest
import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.frame import Frame
from secondlook.models.latent import Latent, LatentPurifier, own_deviation
from secondlook.randomness import Keys


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
    still, loud = Pixels(0.0), Pixels(0.0).tuned(2.0)
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
    with pytest.raises(InvalidInput, match="must be 0 or more"):
        Pixels(1.0).tuned(noise)
