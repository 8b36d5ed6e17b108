"""The L1 ball within the pixel range: projection, sparse steps, and rounding to 8 bits."""

from __future__ import annotations

import torch
from torch import Tensor

SHARE = 0.05
"""Share of the coordinates that a plain step moves; one alone would soon be black or white."""

SHORTER = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0)
"""Shares of a change that are tried where the whole of it cannot be rounded within the ball."""

_SLACK = 2e-4


def shrunk(delta: Tensor, headroom: Tensor, eps: float | Tensor) -> Tensor:
    """The change nearest to ``delta`` whose L1 length is at most ``eps``, ``[B, ...]``.

    Exact, by the sorted break points of the dual (Croce & Hein 2021, proposition 2.1): coordinate
    i becomes ``clip(|delta_i| - a, 0, room_i)`` with the least ``a >= 0`` that is enough.

    Args:
        delta: the wanted change.
        headroom: how far each coordinate may go in the direction of ``delta``, in pixel units.
        eps: the radius, one for all or one for each sample, ``[B]``.
    """
    size, limit = delta.flatten(1).abs().double(), headroom.flatten(1).double()
    points = torch.cat([(size - limit).clamp_min(0), size], 1)
    points, order = points.sort(1)
    turns = torch.where(order < size.shape[1], 1, -1)
    lost = (turns.cumsum(1)[:, :-1] * points.diff(dim=1)).cumsum(1)
    held = size.minimum(limit).sum(1, keepdim=True) - torch.cat([points[:, :1] * 0, lost], 1)
    over = held - torch.as_tensor(eps).to(held).view(-1, 1)
    # The last break point at which the change is still too long, and how many still shrink there.
    last = ((over > 0).sum(1, keepdim=True) - 1).clamp_min(0)
    count = turns.cumsum(1).gather(1, last).clamp_min(1)
    less = points.gather(1, last) + over.gather(1, last) / count
    less = torch.where(over[:, :1] > 0, less, 0)
    kept = (size - less).clamp_min(0).minimum(limit).to(delta)
    return kept.view_as(delta) * delta.sign()


def project(x: Tensor, clean: Tensor, eps: float | Tensor) -> Tensor:
    """The point of the ball around ``clean`` and of [0, 1] that is nearest to ``x``."""
    delta = x - clean
    headroom = torch.where(delta > 0, 1 - clean, clean)
    return (clean + shrunk(delta, headroom, eps)).clamp(0, 1)


def sparse_step(gradient: Tensor, share: float | Tensor) -> Tensor:
    """A step of length 1 along the signs of the largest coordinates, ``[B, ...]``.

    Args:
        gradient: the direction of steepest ascent.
        share: how many of the coordinates move, 0 to 1, one for all or one for each sample; at
            least one does.
    """
    size = gradient.flatten(1).abs()
    n = size.shape[1]
    share = torch.as_tensor(share, dtype=size.dtype, device=size.device).expand(len(size))
    moved = (share * n).long().clamp(1, n)
    bar = size.sort(1).values.gather(1, n - moved[:, None])
    chosen = gradient.flatten(1).sign() * (size >= bar)
    return (chosen / chosen.abs().sum(1, keepdim=True).clamp_min(1)).view_as(gradient)


def rounded(grid: Tensor, origin: Tensor, eps: float) -> Tensor:
    """8-bit levels near ``grid`` within ``eps`` levels of ``origin``; not all may be on the grid.

    Towards the clean image first; then whatever length that leaves goes to the pixels that came
    nearest to the next level. Where ``origin`` lies between the levels it may take a shorter
    change, and where the ball holds no grid point at all the levels stay as they are.
    """
    # An image on the grid is so but for the rounding of its floats, which would add up.
    level = origin.round()
    origin = torch.where((origin - level).abs() < 1e-3, level, origin)
    away = grid - origin
    whole = away.trunc()
    inward = level + whole
    rest = (away - whole).abs().flatten(1)
    left = (eps - (inward - origin).abs().flatten(1).sum(1) + _SLACK).floor().clamp_min(0)
    rank = rest.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    more = (rank < left[:, None]) & (rest >= 0.5)
    found = inward + away.sign() * more.view_as(grid)
    shorter = (level + (away * share).round() for share in SHORTER)
    for other in (inward, *shorter, grid):
        outside = (found - origin).abs().sum((1, 2, 3), keepdim=True) > eps + _SLACK
        if not bool(outside.any()):
            break
        found = torch.where(outside, other, found)
    return found
