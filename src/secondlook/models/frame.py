"""The frame around a network that does not take every size: resize or pad, and crop after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from secondlook.models.base import resized


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
