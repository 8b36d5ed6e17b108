"""The nearest point of a hyperplane within the pixel range: exact, for a whole batch at once."""

from __future__ import annotations

import torch
from torch import Tensor

from secondlook.threat import Norm

_SLACK = 1e-6


def reach(x: Tensor, weights: Tensor, rise: Tensor, norm: Norm) -> Tensor:
    """The smallest change ``z - x`` with ``<weights, z - x> = rise`` and ``z`` in [0, 1].

    Where no ``z`` of the pixel range gets that far, the change to the corner that gets farthest.
    Where the weights are all zero nothing moves. In L1 the pixels of the largest weights move, as
    far as they can; in L∞ and L2 a pixel changes by ``sign(w) min(t v, room)``, with a speed v of
    1 and of ``|w|`` (Croce & Hein 2020).

    Args:
        x: points of the pixel range, ``[B, D]``.
        weights: normals, ``[B, D]``, finite.
        rise: ``[B]``, of either sign.
        norm: what the change is measured in.
    """
    flip = torch.where(rise < 0, -1.0, 1.0).to(weights)[:, None]
    way, size = weights.sign().mul_(flip), weights.abs()
    room = way.clamp_min(0).sub_(x).abs_()
    if norm == "l1":
        return _largest_first(size, room, rise.abs()) * way
    if norm == "linf":
        step = _root(size, room, rise.abs())
        return torch.minimum(step[:, None], room, out=room).mul_(way)
    # Weights of a saturated network are so small that their squares are lost.
    tiny = torch.finfo(size.dtype).tiny
    scale = size.amax(1).clamp_min(tiny)
    size.div_(scale[:, None])
    step = _root(size * size, room / size.clamp_min(tiny), rise.abs() / scale)
    return torch.minimum(size.mul_(step[:, None]), room, out=room).mul_(way)


def _root(gain: Tensor, limit: Tensor, target: Tensor) -> Tensor:
    """The step after which all pixels together have gained ``target``, ``[B]``.

    The gain is concave and piecewise linear in the step, so that Newton's method from below
    never oversteps the root and ends on it, mostly within four rounds. Sorting the pixels, as
    is usual, costs as much as a small network.

    Args:
        gain: of each pixel for a unit of the step, ``[B, D]``.
        limit: the step at which the pixel meets the edge of the range, ``[B, D]``.
        target: ``[B]``, not negative.
    """
    largest = torch.finfo(target.dtype).max
    # What would do if no pixel met an edge. Where there is no slope at all the answer is no matter.
    step = (target / gain.sum(1)).nan_to_num(0).clamp_max(largest)
    # One buffer for all rounds: fresh memory costs more than the arithmetic.
    each = torch.empty_like(gain)
    while True:
        gained = torch.minimum(limit, step[:, None], out=each).mul_(gain).sum(1)
        slope = torch.gt(limit, step[:, None], out=each).mul_(gain).sum(1)
        ahead = (step + (target - gained) / slope).clamp_max(largest)
        # A row moves or rests by itself: what it comes to must not depend on its company.
        moved = ahead > step * (1 + _SLACK)
        if not bool(moved.any()):
            return step
        step = torch.where(moved, ahead, step)


def _largest_first(size: Tensor, room: Tensor, target: Tensor) -> Tensor:
    """How far each pixel goes where those of the largest weight go first, ``[B, D]``."""
    ranked, order = size.sort(dim=1, descending=True, stable=True)
    most = (size * room).gather(1, order)
    left = (target[:, None] - most.cumsum(1) + most).clamp_min(0)
    moved = torch.minimum((left / ranked).nan_to_num(0), room.gather(1, order))
    return torch.zeros_like(size).scatter(1, order, moved)
