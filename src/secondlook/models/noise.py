"""Gaussian noise as a purifier, the plainest stochastic one."""

from __future__ import annotations

from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.base import Purifier
from secondlook.randomness import Keys


class NoisePurifier(Purifier):
    """Adds Gaussian noise of standard deviation ``sigma`` in pixel units.

    Raises:
        InvalidInput: ``sigma`` outside (0, 1].
    """

    def __init__(self, sigma: float = 0.1) -> None:
        if not 0 < sigma <= 1:
            raise InvalidInput(f"sigma={sigma:g} is outside (0, 1]; it is in pixel units")
        self.sigma, self.name = sigma, f"noise:{sigma:g}"

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        """Each image with fresh noise, clamped to [0, 1]."""
        return (x + self.sigma * keys.normal(x.shape[1:], like=x)).clamp(0, 1)
