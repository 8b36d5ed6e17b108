"""Position embeddings of a square grid of patches, refitted to a grid of another size."""

from __future__ import annotations

import math

from torch import Tensor, cat
from torch.nn import functional as F

from secondlook.errors import InvalidInput


def refitted(positions: Tensor, count: int) -> Tensor:
    """``[1, 1 + N, D]`` to ``[1, 1 + count, D]``, bicubic; the class token's own stays first.

    Raises:
        InvalidInput: either grid is not square.
    """
    held = positions.shape[1] - 1
    if held == count:
        return positions
    old, new = math.isqrt(held), math.isqrt(count)
    if old * old != held or new * new != count:
        raise InvalidInput(f"positions of {held} patches do not fit {count}; use square images")
    grid = positions[:, 1:].unflatten(1, (old, old)).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (new, new), mode="bicubic")
    return cat([positions[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)
