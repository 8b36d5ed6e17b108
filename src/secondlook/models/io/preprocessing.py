"""What an image processor does to a picture, on tensors, with a gradient, and as Pillow does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput

Kernel = Literal["bilinear", "bicubic"]
_Array = NDArray[np.float64]

_ONE: Final = 1 << 22
"""What stands for 1 among Pillow's weights, which are whole numbers."""
_NEAR: Final = 1e-3
"""Of a step of 8 bits: nearer to a whole number than this is the number, but for rounding."""


@torch.no_grad()
def pillow_resized(x: Tensor, size: int, kernel: Kernel) -> Tensor:
    """The last edge of ``[..., W]`` at another size, on the steps of 8 bits, without a gradient.

    As ``libImaging/Resample.c`` has it: weights of 22 bits, half a step rounded upwards, clipped.
    A picture on the grid of 8 bits comes out as Pillow makes it; another one is not rounded first.
    """
    steps = x.double() * 255
    whole = steps.round()
    steps = torch.where((steps - whole).abs() < _NEAR, whole, steps)
    weights = _weights(x.shape[-1], size, kernel).to(x.device)
    flat = torch.sparse.mm(weights, steps.reshape(-1, x.shape[-1]).T.contiguous()).T
    out: Tensor = (flat / _ONE + 0.5).floor().clamp(0, 255) / 255
    return out.reshape(*x.shape[:-1], size).to(x.dtype)


@lru_cache(maxsize=64)
def _weights(before: int, after: int, kernel: Kernel) -> Tensor:
    """Sparse ``[after, before]`` of whole numbers; each row sums up to about ``1 << 22``."""
    support, shape = _KERNELS[kernel]
    scale = before / after
    wide = max(scale, 1.0)
    center = (np.arange(after) + 0.5) * scale
    low = np.maximum(np.trunc(center - support * wide + 0.5), 0).astype(np.int64)
    high = np.minimum(np.trunc(center + support * wide + 0.5), before).astype(np.int64)
    places = low[:, None] + np.arange(int((high - low).max()))
    inside = places < high[:, None]
    found = np.where(inside, shape((places - center[:, None] + 0.5) / wide), 0.0)
    found = found / np.cumsum(found, axis=1)[:, -1:]
    whole = np.trunc(found * _ONE + np.copysign(0.5, found))
    rows = np.broadcast_to(np.arange(after)[:, None], places.shape)
    index = torch.from_numpy(np.stack([rows[inside], places[inside]]))
    return torch.sparse_coo_tensor(
        index, torch.from_numpy(whole[inside]), (after, before), is_coalesced=True, check_invariants=False
    )


def _triangle(t: _Array) -> _Array:
    near: _Array = np.maximum(1 - np.abs(t), 0.0)
    return near


def _cubic(t: _Array) -> _Array:
    """Keys' kernel with a = -0.5."""
    t, a = np.abs(t), -0.5
    near = ((a + 2) * t - (a + 3)) * t * t + 1
    far = (((t - 5) * t + 8) * t - 4) * a
    return np.where(t < 1, near, np.where(t < 2, far, 0.0))


_KERNELS: Final[dict[Kernel, tuple[float, Callable[[_Array], _Array]]]] = {
    "bilinear": (1.0, _triangle),
    "bicubic": (2.0, _cubic),
}


Resolution = Literal["input", "native"]
Filter = Literal["nearest", "bilinear", "bicubic"]
Fit = Literal["none", "exact", "shortest", "longest"]
Size = tuple[int, int]

# A flat white region comes out of a resize as 1 plus a rounding error; an exact clamp would cut off
# its gradient, which points back into the range.
_SLACK: Final = 1e-4


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Resize, center crop and normalize, as the processor of a checkpoint says.

    The processors round to 8 bits after each pass of a resize. So it is done here, and the gradient
    goes straight through the rounding; pixels are within one step of 8 bits of theirs.

    Attributes:
        fit: how a picture is resized: to ``edge`` exactly; until its shortest or its longest edge
            is that of ``edge``; or not at all.
        edge: height and width of the resize.
        crop: height and width of the box about the center, padded with black where it is larger
            than the picture; None crops nothing.
        middle: how half a pixel of the crop is rounded: ``floor`` by transformers, ``even`` by
            torchvision.
        filter: the kernel, with antialias but for ``nearest``.
        mean: per channel, of pixels in [0, 1].
        std: per channel.
        resolution: what an attack perturbs. ``input``: pictures that have the network's own size
            already, which are normalized alone. ``native``: pictures of any size; all of it runs.
        rounding: whether a resize rounds to 8 bits; without it, it has a derivative.

    Raises:
        InvalidInput: a size, or a standard deviation, is not positive.
    """

    fit: Fit
    edge: Size
    crop: Size | None = None
    middle: Literal["floor", "even"] = "floor"
    filter: Filter = "bicubic"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resolution: Resolution = "input"
    rounding: bool = True

    def __post_init__(self) -> None:
        if min(*self.edge, *(self.crop or self.edge)) < 1:
            raise InvalidInput(f"edge={self.edge}, crop={self.crop}: sizes must be 1 or more")
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise InvalidInput(f"mean={self.mean}, std={self.std}; write three each, std above 0, for RGB")

    @property
    def size(self) -> Size:
        """Height and width that the network takes."""
        return self.crop or self.edge

    def __call__(self, x: Tensor) -> Tensor:
        """Pixels ``[B, 3, H, W]`` in [0, 1] to what the network takes, ``[B, 3, *size]``."""
        ready = self.resolution == "input" and x.shape[-2:] == self.size
        return self.normalized(x if ready else self.fitted(x))

    def fitted(self, x: Tensor) -> Tensor:
        """Pixels ``[B, 3, H, W]`` resized and cropped to ``[B, 3, *size]``, still in [0, 1].

        Made of a picture at its own size, they are what an attack at ``input`` starts from.
        """
        target = self._target(x.shape[-2], x.shape[-1])
        x = resampled(x, *target, self.filter, self.rounding)
        return x if self.crop is None else self._cropped(x, *self.crop)

    def normalized(self, x: Tensor) -> Tensor:
        """Pixels less the mean, over the standard deviation."""
        mean, std = (x.new_tensor(v).view(3, 1, 1) for v in (self.mean, self.std))
        return (x - mean) / std

    def _target(self, height: int, width: int) -> Size:
        if self.fit == "none":
            return height, width
        if self.fit == "exact":
            return self.edge
        if self.fit == "longest":
            ratio = max(height / self.edge[0], width / self.edge[1])
            return round(height / ratio), round(width / ratio)
        short, long = sorted((height, width))
        # The libraries cut the longer edge off to whole pixels and do not round it.
        long = int(self.edge[0] * long / short)
        return (self.edge[0], long) if height <= width else (long, self.edge[0])

    def _cropped(self, x: Tensor, height: int, width: int) -> Tensor:
        top, bottom = self._margins(x.shape[-2] - height)
        left, right = self._margins(x.shape[-1] - width)
        return F.pad(x, (-left, -right, -top, -bottom))

    def _margins(self, spare: int) -> tuple[int, int]:
        """What falls away before and behind; negative is padded."""
        before = spare // 2 if self.middle == "floor" else round(spare / 2) if spare > 0 else -(-spare // 2)
        return before, spare - before


def resampled(x: Tensor, height: int, width: int, filter: Filter, rounding: bool = True) -> Tensor:
    """``[B, C, H, W]`` at another size, as Pillow does it: one edge, then the other.

    The bicubic kernel has a = -0.5, and shrinking widens a kernel (antialias). What each of the two
    passes gives is clipped and rounded to 8 bits. The gradient is that of the clipped result
    without the rounding.
    """
    if filter == "nearest":
        rows, columns = _nearest(x.shape[-2], height), _nearest(x.shape[-1], width)
        return x[:, :, rows.to(x.device)][..., columns.to(x.device)]
    before, across = x.shape[-2:]
    # Which edge is first decides what is clipped between the two, hence a few pixels at hard edges.
    # The rule is that of Pillow 13, as measured; up to 12.0 the width is always first.
    tall = height < before and before - height > 2 * (across - width)
    for edge, size in ((2, height), (3, width)) if tall else ((3, width), (2, height)):
        if x.shape[edge] != size:
            x = _along(x, edge, size, filter) if rounding else _smooth(x, edge, size, filter)
    return x


@lru_cache(maxsize=64)
def _nearest(before: int, after: int) -> Tensor:
    """The pixel that each of ``after`` takes; summed up as Pillow's ``ImagingScaleAffine`` does it."""
    scale = before / after
    places = np.add.accumulate(np.concatenate([[scale * 0.5], np.full(after - 1, scale)]))
    return torch.from_numpy(places.astype(np.int64)).clamp(max=before - 1)


def _along(x: Tensor, edge: int, size: int, kernel: Kernel) -> Tensor:
    """One of the two passes: Pillow's values, and the gradient of the same without rounding."""
    value = pillow_resized(x.transpose(edge, 3), size, kernel).transpose(edge, 3)
    if not (x.requires_grad and torch.is_grad_enabled()):
        return value
    smooth = _smooth(x, edge, size, kernel)
    return smooth + (value - smooth).detach()


def _smooth(x: Tensor, edge: int, size: int, kernel: Kernel) -> Tensor:
    shape = (size, x.shape[3]) if edge == 2 else (x.shape[2], size)
    smooth = F.interpolate(x, shape, mode=kernel, antialias=True)
    return torch.clamp(smooth, -_SLACK, 1 + _SLACK)


MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
"""Per channel, of the images that CLIP was trained on (arXiv 2103.00020)."""
DEVIATION: Final = (0.26862954, 0.26130258, 0.27577711)
"""Their standard deviation per channel."""


def centered(side: int) -> Preprocessing:
    """The shorter side resized to ``side``, then the square in the middle."""
    square = (side, side)
    return Preprocessing(fit="shortest", edge=square, crop=square, middle="even", mean=MEAN, std=DEVIATION)


def squeezed(side: int) -> Preprocessing:
    """Both sides resized to ``side``, whatever they were."""
    return Preprocessing(fit="exact", edge=(side, side), mean=MEAN, std=DEVIATION)
