"""Purifiers by a network of one size, whose noise has a strength; among them those by a latent."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Self

from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.models.base import Purifier, resized
from secondlook.randomness import Keys

FAR = 100.0
"""Deviations of a latent that noise may have at most: nothing of a picture is left long before."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """What a network from images to images wants of their size.

    Attributes:
        size: the one height and width that it takes; None where many will do.
        multiple: what height and width must be a multiple of; edges are repeated to get there.
    """

    size: tuple[int, int] | None = None
    multiple: int = 1

    def around(self, body: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        """``body`` of ``x`` ``[B, 3, H, W]``; the answer is at ``size``, else at ``[H, W]``."""
        inside = resized(x, *self.size) if self.size else x
        height, width = inside.shape[-2:]
        down, right = -height % self.multiple, -width % self.multiple
        out = body(F.pad(inside, (0, right, 0, down), mode="replicate"))
        return out[..., :height, :width]


class TunablePurifier(Purifier):
    """A purifier whose randomness has a strength that a user may choose.

    Attributes:
        noise: the strength; what one unit of it is, the subclass says.
        frame: the sizes that the network takes.
    """

    def __init__(self, name: str, modules: tuple[nn.Module, ...], *, noise: float, frame: Frame) -> None:
        self.name, self.modules, self.frame = name, modules, frame
        self._set(noise)

    @abstractmethod
    def remake(self, x: Tensor, keys: Keys) -> Tensor:
        """One reconstruction of ``x``, which is of a size that the network takes."""

    @abstractmethod
    def check(self, noise: float) -> None:
        """Raises ``InvalidInput`` where the knob does not go."""

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        """One reconstruction of each image."""
        return self.frame.around(lambda inside: self.remake(inside, keys), x)

    @property
    def settings(self) -> tuple[float, ...]:
        return (self.noise,)

    def with_noise(self, noise: float) -> Self:
        """The same networks with another ``noise``.

        Raises:
            InvalidInput: the knob does not go there.
        """
        other = copy.copy(self)
        other._set(noise)
        return other

    def _set(self, noise: float) -> None:
        self.check(noise)
        self.noise, self.stochastic = noise, noise > 0


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
        if not 0 <= noise <= FAR:
            raise InvalidInput(f"noise={noise:g} of {self.name} counts deviations; write a number from 0 to {FAR:g}")

    def remake(self, x: Tensor, keys: Keys) -> Tensor:
        code, deviation = self.encode(x)
        if self.noise > 0:
            code = code + self.noise * deviation * keys.normal(code.shape[1:], like=code)
        return self.decode(code)
