"""Pillow's resize of 8-bit pictures along one edge, number for number."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Kernel = Literal["bilinear", "bicubic"]
_Array = NDArray[np.float64]

_ONE: Final = 1 << 22
"""What stands for 1 among Pillow's weights, which are whole numbers."""
_NEAR: Final = 1e-3
"""Of a step of 8 bits: nearer to a whole number than this is the number, but for rounding."""


@torch.no_grad()
def resized(x: Tensor, size: int, kernel: Kernel) -> Tensor:
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
    centre = (np.arange(after) + 0.5) * scale
    low = np.maximum(np.trunc(centre - support * wide + 0.5), 0).astype(np.int64)
    high = np.minimum(np.trunc(centre + support * wide + 0.5), before).astype(np.int64)
    places = low[:, None] + np.arange(int((high - low).max()))
    inside = places < high[:, None]
    found = np.where(inside, shape((places - centre[:, None] + 0.5) / wide), 0.0)
    found = found / np.cumsum(found, axis=1)[:, -1:]
    whole = np.trunc(found * _ONE + np.copysign(0.5, found))
    rows = np.broadcast_to(np.arange(after)[:, None], places.shape)
    index = torch.from_numpy(np.stack([rows[inside], places[inside]]))
    return torch.sparse_coo_tensor(
        index, torch.from_numpy(whole[inside]), (after, before), is_coalesced=True,
        check_invariants=False,
    )  # fmt: skip


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
    "bilinear": (1.0, _triangle), "bicubic": (2.0, _cubic),
}  # fmt: skip
