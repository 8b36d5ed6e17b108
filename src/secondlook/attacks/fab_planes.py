"""Linearised decision boundaries: how far a class is behind, and which way it would catch up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from secondlook.threat import Norm, per_sample


class Plane(NamedTuple):
    """A linearised boundary: the lead ``[A]`` of the class beyond it, and that lead's gradient."""

    lead: Tensor
    gradient: Tensor

    def or_nearer(self, other: Plane, norm: Norm) -> Plane:
        """The plane itself, or ``other`` for the samples to which that is nearer."""
        far, near = (p.lead.abs() / _dual_size(p.gradient, norm) for p in (self, other))
        closer = near < far
        lead = torch.where(closer, other.lead, self.lead)
        return Plane(lead, torch.where(per_sample(closer), other.gradient, self.gradient))


def leads_of(scores: Tensor, columns: Tensor, losing: Tensor) -> list[Tensor]:
    """Of each of the ``columns [A, T]`` its lead over the losing ones, mean over draws, T x [A]."""
    draws = scores.shape[1]
    held = scores.gather(2, losing[:, None].expand(-1, draws, -1)).amax(2, keepdim=True)
    rivals = scores.gather(2, columns[:, None].expand(-1, draws, -1))
    return list((rivals - held).mean(1).unbind(1))


def nearest_plane(leads: Sequence[Tensor], x: Tensor, norm: Norm) -> Plane:
    """Of the boundaries where the ``leads`` of ``x`` vanish the one that is nearest to it."""
    best = Plane(leads[0].detach(), _gradient(leads[0], x, last=len(leads) == 1))
    for lead in leads[1:]:
        other = Plane(lead.detach(), _gradient(lead, x, last=lead is leads[-1]))
        best = best.or_nearer(other, norm)
    return best


def _gradient(lead: Tensor, x: Tensor, *, last: bool) -> Tensor:
    """The gradient of each sample's lead to its input; zero where nothing is connected."""
    if not lead.requires_grad:
        return torch.zeros_like(x)
    (gradient,) = torch.autograd.grad(lead.sum(), x, retain_graph=not last, materialize_grads=True)
    return gradient


def _dual_size(weights: Tensor, norm: Norm) -> Tensor:
    """The length of each normal ``[A, ...]`` in the norm that is dual to ``norm``, ``[A]``."""
    size = weights.flatten(1).abs()
    if norm == "l1":
        return size.amax(1)
    return size.sum(1) if norm == "linf" else (size * size).sum(1).sqrt()
