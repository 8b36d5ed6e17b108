"""Purifiers through a latent: encode, add noise to the code, decode."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import NamedTuple

from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.tunable import TunablePurifier
from secondlook.randomness import Keys


class Latent(NamedTuple):
    """What an image is encoded to, each ``[B, ...]``.

    Attributes:
        mean: the code itself, or the mean of its posterior.
        deviation: what one unit of noise adds to it.
    """

    mean: Tensor
    deviation: Tensor


def own_deviation(code: Tensor) -> Latent:
    """A code without a posterior; its unit of noise is the deviation of its own entries."""
    spread = code.flatten(1).std(dim=1, correction=0)
    return Latent(code, spread.view(-1, *[1] * (code.dim() - 1)))


class LatentPurifier(TunablePurifier):
    """Encode, add ``noise`` deviations to the latent, decode; without noise deterministic.

    With a posterior the unit is its standard deviation, so that 1 samples it and any other value
    is a temperature; without one it is the standard deviation of the image's own code.
    """

    @abstractmethod
    def encode(self, x: Tensor) -> Latent:
        """``[B, 3, H, W]`` in [0, 1] to a latent."""

    @abstractmethod
    def decode(self, code: Tensor) -> Tensor:
        """A code to pixels in [0, 1]; what lies outside is clamped later."""

    def check(self, noise: float) -> None:
        if not 0 <= noise < math.inf:
            raise InvalidInput(
                f"noise={noise:g} of {self.name} must be 0 or more; it counts deviations"
            )

    def remake(self, x: Tensor, keys: Keys) -> Tensor:
        code, deviation = self.encode(x)
        if self.noise > 0:
            code = code + self.noise * deviation * keys.normal(code.shape[1:], like=code)
        return self.decode(code)
