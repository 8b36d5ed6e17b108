"""RandAugment on tensors: a few operations on each image, drawn by its key."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.randomness import Keys

Operation = Callable[[Tensor, float], Tensor]
"""An image ``[3, H, W]`` and a strength in [-1, 1], which 0 leaves alone."""
Kind = Literal["color", "all"]


def _gray(x: Tensor) -> Tensor:
    return (x * x.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(0, keepdim=True)


def _blend(x: Tensor, far: Tensor, strength: float) -> Tensor:
    """From ``far`` (at -1) through ``x`` to as far beyond it, nine tenths of the way."""
    return far + (x - far) * (1 + 0.9 * strength)


def brightness(x: Tensor, strength: float) -> Tensor:
    """Towards black, or away from it."""
    return _blend(x, torch.zeros_like(x), strength)


def contrast(x: Tensor, strength: float) -> Tensor:
    """Towards its mean gray, or away from it."""
    return _blend(x, _gray(x).mean().expand_as(x), strength)


def color(x: Tensor, strength: float) -> Tensor:
    """Towards its gray image, or away from it."""
    return _blend(x, _gray(x).expand_as(x), strength)


def sharpness(x: Tensor, strength: float) -> Tensor:
    """Towards its blurred image, or away from it."""
    kernel = x.new_tensor([[1, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
    padded = F.pad(x[None], (1, 1, 1, 1), mode="replicate")
    blurred = F.conv2d(padded, kernel.expand(3, 1, 3, 3), groups=3)[0]
    return _blend(x, blurred, strength)


def posterize(x: Tensor, strength: float) -> Tensor:
    """Fewer levels: 8 bits down to 4."""
    levels: int = 2 ** round(8 - 4 * abs(strength))
    return (x * 255 / 256 * levels).floor() / (levels - 1)


def solarize(x: Tensor, strength: float) -> Tensor:
    """Turns the brightest values round; from white down to middle gray at full strength."""
    return torch.where(x > 1 - 0.5 * abs(strength), 1 - x, x) if strength else x


def autocontrast(x: Tensor, strength: float) -> Tensor:
    """Each channel stretched to the whole range, whatever the strength."""
    low, high = x.amin((1, 2), keepdim=True), x.amax((1, 2), keepdim=True)
    return torch.where(high > low, (x - low) / (high - low).clamp_min(1e-6), x)


def equalize(x: Tensor, strength: float) -> Tensor:
    """Each channel with as many pixels at every level as can be, whatever the strength."""
    levels = (x * 255).round().long()
    return torch.stack([_flattened(channel) for channel in levels])


def _flattened(levels: Tensor) -> Tensor:
    below = torch.bincount(levels.flatten(), minlength=256).cumsum(0)
    least, whole = below[levels.min()], levels.numel()
    if int(least) == whole:
        return levels / 255
    return ((below - least) / (whole - least))[levels].float()


def _warped(x: Tensor, matrix: list[list[float]]) -> Tensor:
    grid = F.affine_grid(x.new_tensor([matrix]), [1, *x.shape], align_corners=False)
    return F.grid_sample(x[None], grid, padding_mode="border", align_corners=False)[0]


def rotate(x: Tensor, strength: float) -> Tensor:
    """About its middle, by up to 30 degrees."""
    angle = math.radians(30 * strength)
    cos, sin = math.cos(angle), math.sin(angle)
    return _warped(x, [[cos, -sin, 0], [sin, cos, 0]])


def shear_x(x: Tensor, strength: float) -> Tensor:
    """Rows against each other, by up to 0.3."""
    return _warped(x, [[1, 0.3 * strength, 0], [0, 1, 0]])


def shear_y(x: Tensor, strength: float) -> Tensor:
    """Columns against each other, by up to 0.3."""
    return _warped(x, [[1, 0, 0], [0.3 * strength, 1, 0]])


def translate_x(x: Tensor, strength: float) -> Tensor:
    """To the side, by up to 0.3 of the width."""
    return _warped(x, [[1, 0, 0.6 * strength], [0, 1, 0]])


def translate_y(x: Tensor, strength: float) -> Tensor:
    """Up or down, by up to 0.3 of the height."""
    return _warped(x, [[1, 0, 0], [0, 1, 0.6 * strength]])


COLOR: Final[tuple[Operation, ...]] = (
    brightness,
    contrast,
    color,
    sharpness,
    posterize,
    solarize,
    autocontrast,
    equalize,
)
MOVING: Final[tuple[Operation, ...]] = (rotate, shear_x, shear_y, translate_x, translate_y)
OPERATIONS: Final[Mapping[Kind, tuple[Operation, ...]]] = MappingProxyType({"color": COLOR, "all": COLOR + MOVING})


@dataclass(frozen=True, kw_only=True)
class RandAugment:
    """So many drawn operations of one strength on each image (Cubuk et al. 2020).

    Attributes:
        count: operations on an image; each may also be none at all, as published.
        strength: how strong each is, 1 at most; its sign is drawn.
        kind: ``color`` moves nothing, as captions that name places require;
            ``all`` also rotates, shears and shifts the image.

    Raises:
        InvalidInput: no operation, a strength outside [0, 1], or an unknown kind.
    """

    count: int = 2
    strength: float = 0.3
    kind: Kind = "color"

    def __post_init__(self) -> None:
        if self.count < 1 or not 0 <= self.strength <= 1:
            raise InvalidInput(f"count={self.count}, strength={self.strength:g}; write 1 or more, and 0 to 1")
        if self.kind not in get_args(Kind):
            raise InvalidInput(f"kind={self.kind!r}; write 'color' or 'all'")

    def __call__(self, x: Tensor, keys: Keys) -> Tensor:
        """``[B, 3, H, W]`` in [0, 1] to others, still in [0, 1]."""
        drawn = zip(x, keys.fold("randaugment").generators(), strict=True)
        return torch.stack([self._one(image, rng) for image, rng in drawn])

    def _one(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        operations = OPERATIONS[self.kind]
        for _ in range(self.count):
            at, sign = int(rng.integers(len(operations) + 1)), int(rng.choice((-1, 1)))
            if at < len(operations):
                image = operations[at](image, sign * self.strength).clamp(0, 1)
        return image
