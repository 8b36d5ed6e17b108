"""What Square paints in the L2 ball: pyramids, few and high, that always reach the sphere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.attacks.square_patterns import Painter, signs

TILES = 5
_TINY = 1e-12


class Pyramids(Painter):
    """L2: tiles to begin with; then each square takes over the length of another one.

    Andriushchenko et al. 2020, algorithm 3. The shape of a square, eta there, is a pair of
    pyramids of opposite sign.
    """

    odd = True

    def __init__(self, like: Tensor, eps: float, shares: Sequence[float]) -> None:
        super().__init__(like, eps, shares)
        self.tile = max(min(self.height, self.width) // TILES, 1)
        self.wants = 5 + self.channels
        self.opening = (self.channels, self.height // self.tile, self.width // self.tile)
        self.widest = int(self.sides.max())
        self.shapes = like.new_zeros(self.widest + 1, self.widest, self.widest)
        for side in self.sides.unique().tolist():
            self.shapes[side, :side, :side] = pyramids(side)

    def start(self, clean: Tensor, draws: Tensor) -> Tensor:
        """As many tiles as find room, in each channel up or down."""
        tiles = signs(draws).repeat_interleave(self.tile, 2).repeat_interleave(self.tile, 3)
        tiles = tiles * pyramids(self.tile).to(clean).repeat(*self.opening[1:])
        tall, wide = self.height - tiles.shape[2], self.width - tiles.shape[3]
        edges = (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2)
        return self._onto_sphere(clean, F.pad(tiles, edges))

    def propose(self, x: Tensor, clean: Tensor, side: Tensor, draws: Tensor) -> Tensor:
        """Adds the shape in one square, and gives it the length that it and another square had."""
        delta, corner = x - clean, self.corner(side, draws)
        here = self.within(*corner, side)
        given = delta * (here | self.within(*self.corner(side, draws[:, 2:]), side))
        unused = (self.eps**2 - _squared(delta).sum(1, keepdim=True)).clamp_min(0)
        length = (unused / self.channels + _squared(given)).sqrt()
        own = delta * here
        fresh = self._shape(*corner, side, draws[:, 4] < 0.5) * here
        fresh = fresh * signs(draws[:, 5:])[:, :, None, None]
        fresh = fresh + own / (_squared(own).sqrt() + _TINY)
        fresh = fresh * (length / (_squared(fresh).sqrt() + _TINY))
        return self._onto_sphere(clean, delta - given + fresh)

    def _shape(self, top: Tensor, left: Tensor, side: Tensor, turned: Tensor) -> Tensor:
        """The pyramids at their place, upright or turned, ``[A, 1, H, W]``; right in the square."""
        rows = (self.down - top[:, None]).clamp(0, self.widest - 1)[:, :, None]
        columns = (self.across - left[:, None]).clamp(0, self.widest - 1)[:, None, :]
        turned = turned[:, None, None]
        first, second = torch.where(turned, columns, rows), torch.where(turned, rows, columns)
        return self.shapes[side[:, None, None], first, second][:, None]

    def _onto_sphere(self, clean: Tensor, delta: Tensor) -> Tensor:
        length = _squared(delta).sum(1, keepdim=True).sqrt().clamp_min(_TINY)
        return (clean + delta * (self.eps / length)).clamp_(0, 1)


def pyramids(side: int) -> Tensor:
    """A pyramid over another one that is turned upside down, of L2 length 1, ``[side, side]``."""
    both = torch.cat([_pyramid(side // 2, side), -_pyramid(side - side // 2, side)])
    return both / both.square().sum().sqrt()


def _pyramid(height: int, width: int) -> Tensor:
    """At n steps from the middle: the sum of 1 / k² over the levels k that lie farther out."""
    rows = (torch.arange(height) - height // 2).abs()[:, None]
    columns = (torch.arange(width) - width // 2).abs()[None, :]
    levels = 1 / torch.arange(1, max(height, width) // 2 + 2).double() ** 2
    heights = levels.flip(0).cumsum(0).flip(0)[torch.maximum(rows, columns)]
    return (heights / heights.square().sum().sqrt().clamp_min(_TINY)).float()


def _squared(delta: Tensor) -> Tensor:
    """The squared L2 length of each channel, ``[A, C, 1, 1]``."""
    return delta.flatten(2).square().sum(2)[:, :, None, None]
