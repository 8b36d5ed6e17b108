"""What Square paints: a start, then one square at a time, at the corners of the L∞ ball.

After Andriushchenko et al. 2020. All draws come from outside, as uniform numbers in [0, 1).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor

HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Out of 10,000 queries, those after which the share of the painted pixels is halved."""


def shares(queries: int, first: float, rescale: bool) -> list[float]:
    """The share of the pixels that is painted in each query.

    Args:
        queries: how many there are.
        first: the share at the beginning.
        rescale: spreads the halvings over ``queries``, which else come as in 10,000.
    """
    pace = 10_000 / queries if rescale else 1.0
    return [first / 2 ** sum(query * pace > turn for turn in HALVINGS) for query in range(queries)]


class Painter(ABC):
    """Proposes images of the ball around the clean ones.

    Attributes:
        wants: how many draws a proposal takes.
        opening: the shape of the draws that a start takes.
        sides: the side of the square in each query, ``[Q]``.
    """

    wants: int
    opening: tuple[int, ...]
    odd: bool = False

    def __init__(self, like: Tensor, eps: float, shares: Sequence[float]) -> None:
        self.eps, (self.height, self.width) = eps, like.shape[-2:]
        self.channels = like.shape[1]
        # For one image size there are few sides.
        known = {share: self._side(share) for share in set(shares)}
        self.sides = torch.tensor([known[share] for share in shares], device=like.device)
        self.down, self.across = (
            torch.arange(n, device=like.device) for n in (self.height, self.width)
        )

    @abstractmethod
    def start(self, clean: Tensor, draws: Tensor) -> Tensor:
        """The image a run begins with; ``draws`` are ``[A, *opening]``."""

    @abstractmethod
    def propose(self, x: Tensor, clean: Tensor, side: Tensor, draws: Tensor) -> Tensor:
        """``x`` with a square of ``side`` painted anew; ``draws`` are ``[A, wants]``."""

    def _side(self, share: float) -> int:
        side = max(round(math.sqrt(share * self.height * self.width)), 3 if self.odd else 1)
        side += self.odd and side % 2 == 0
        return min(side, self.height, self.width)

    def corner(self, side: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Row and column of the upper left pixel of a square that lies in the image, ``[A]``."""
        top = (draws[:, 0] * (self.height - side + 1)).long()
        return top, (draws[:, 1] * (self.width - side + 1)).long()

    def within(self, top: Tensor, left: Tensor, side: Tensor) -> Tensor:
        """Whether each pixel is in the square, ``[A, 1, H, W]``."""
        rows, columns = self.down - top[:, None], self.across - left[:, None]
        tall = (rows >= 0) & (rows < side[:, None])
        wide = (columns >= 0) & (columns < side[:, None])
        return (tall[:, :, None] & wide[:, None, :])[:, None]


class Stripes(Painter):
    """L∞: vertical stripes, then squares, always at the corners of the ball (algorithm 2)."""

    def __init__(self, like: Tensor, eps: float, shares: Sequence[float]) -> None:
        super().__init__(like, eps, shares)
        self.wants, self.opening = 2 + self.channels, (self.channels, 1, self.width)

    def start(self, clean: Tensor, draws: Tensor) -> Tensor:
        """Each column of each channel goes up or down."""
        return (clean + self.eps * signs(draws)).clamp_(0, 1)

    def propose(self, x: Tensor, clean: Tensor, side: Tensor, draws: Tensor) -> Tensor:
        """One square, each channel of which goes up or down."""
        square = self.within(*self.corner(side, draws), side)
        up = self.eps * signs(draws[:, 2:])[:, :, None, None]
        return torch.where(square, (clean + up).clamp_(0, 1), x)


def signs(draws: Tensor) -> Tensor:
    """-1 or 1 for each draw."""
    return torch.where(draws < 0.5, -1.0, 1.0).to(draws)
