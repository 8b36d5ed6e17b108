"""Purifiers without weights: noise, fewer levels, a median, a blur, a small turn."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.models.base import Purifier
from secondlook.models.purifiers.jpeg import JpegPurifier
from secondlook.models.purifiers.soft import SoftPurifier, soft_rounded
from secondlook.randomness import Keys


class NoisePurifier(Purifier):
    """Adds Gaussian noise of standard deviation ``sigma`` in pixel units.

    Raises:
        InvalidInput: ``sigma`` outside (0, 1].
    """

    channels = None

    def __init__(self, sigma: float = 0.1) -> None:
        if not 0 < sigma <= 1:
            raise InvalidInput(f"sigma={sigma:g} is outside (0, 1]; it is in pixel units")
        self.sigma, self.name = sigma, f"noise:{sigma:g}"

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        """Each image with fresh noise, clamped to [0, 1]."""
        return (x + self.sigma * keys.normal(x.shape[1:], like=x)).clamp(0, 1)


class FewerLevels(SoftPurifier):
    """Each channel on so many bits (Xu et al. 2018, arXiv 1704.01155, section III-A).

    Its gradient is that of smooth steps from level to level.

    Raises:
        InvalidInput: ``bits`` outside 1 to 8.
    """

    stochastic = False

    def __init__(self, bits: int = 5) -> None:
        if not 1 <= bits <= 8:
            raise InvalidInput(f"bits={bits} is outside 1 to 8; 4 and 5 are usual")
        self.levels, self.name = 2**bits - 1, f"bits:{bits}"

    def hard(self, x: Tensor, keys: Keys) -> Tensor:
        """The nearest level of each pixel."""
        levels: Tensor = (x * self.levels).round() / self.levels
        return levels

    def soft(self, x: Tensor, keys: Keys) -> Tensor:
        """Smooth steps between the levels."""
        levels: Tensor = soft_rounded(x * self.levels) / self.levels
        return levels


class MedianFilter(Purifier):
    """The median of each pixel and its neighbors (arXiv 1704.01155, section III-B).

    An even window takes the lower middle value and is padded on the right and below.

    Raises:
        InvalidInput: ``side`` below 2.
    """

    stochastic = False

    def __init__(self, side: int = 2) -> None:
        if side < 2:
            raise InvalidInput(f"side={side} has no neighbors; write 2 or 3")
        self.side, self.name = side, f"median:{side}"

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        """The median over ``side`` × ``side`` pixels of a channel."""
        before, after = (self.side - 1) // 2, self.side // 2
        padded = F.pad(x, (before, after, before, after), mode="reflect")
        windows = padded.unfold(2, self.side, 1).unfold(3, self.side, 1)
        return windows.flatten(4).median(-1).values


class Blur(Purifier):
    """A Gaussian blur of deviation ``sigma`` in pixels.

    Raises:
        InvalidInput: ``sigma`` is not positive.
    """

    stochastic = False

    def __init__(self, sigma: float = 1.0) -> None:
        if not 0 < sigma < math.inf:
            raise InvalidInput(f"sigma={sigma:g} blurs nothing; it is in pixels, write 1")
        self.sigma, self.name = sigma, f"blur:{sigma:g}"

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        """Blurred along both axes, the border reflected."""
        reach = min(math.ceil(3 * self.sigma), min(x.shape[2:]) - 1)
        at = torch.arange(-reach, reach + 1, dtype=x.dtype, device=x.device)
        bell = torch.exp(-0.5 * (at / self.sigma).square())
        bell = (bell / bell.sum()).expand(x.shape[1], 1, 1, -1)
        x = F.conv2d(F.pad(x, (reach, reach, 0, 0), "reflect"), bell, groups=x.shape[1])
        down = bell.transpose(2, 3)
        return F.conv2d(F.pad(x, (0, 0, reach, reach), "reflect"), down, groups=x.shape[1])


class Turned(Purifier):
    """A small affine change: turned by ``degrees`` about the middle.

    Raises:
        InvalidInput: ``degrees`` outside [-45, 45].
    """

    stochastic = False

    def __init__(self, degrees: float = 5.0) -> None:
        if not -45 <= degrees <= 45:
            raise InvalidInput(f"degrees={degrees:g} is no small turn; write 5")
        self.degrees, self.name = degrees, f"affine:{degrees:g}"

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        """Turned, bilinear, the border repeated; torch makes no grid for an empty batch."""
        if not len(x):
            return x
        angle = math.radians(self.degrees)
        cos, sin = math.cos(angle), math.sin(angle)
        turn = torch.tensor([[cos, -sin, 0.0], [sin, cos, 0.0]], dtype=x.dtype, device=x.device)
        grid = F.affine_grid(turn.expand(len(x), 2, 3), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode="border", align_corners=False)


VIEWS: Final = MappingProxyType[str, Callable[[float], Purifier]](
    {
        "bits": lambda value: FewerLevels(int(value)),
        "median": lambda value: MedianFilter(int(value)),
        "blur": Blur,
        "affine": Turned,
        "jpeg": lambda value: JpegPurifier(int(value)),
    }
)
"""By name, each with the strength that follows the colon: ``blur:1``."""
