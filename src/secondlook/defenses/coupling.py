"""Whether a defense's answer to an input depends on who else is in the batch."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from secondlook.defenses.guarded import Guarded
from secondlook.randomness import Keys

KEPT: Final = 4
"""Samples of a batch whose neighbors are exchanged."""
COUPLED: Final = 1e-3
"""A move by this share of the answer's own length is no float noise."""


def coupling(guarded: Guarded, x: Tensor, keys: Keys, kept: int = KEPT) -> Tensor:
    """How far an answer moves when all others of its batch are exchanged, as a share of its length, ``[kept]``.

    A sample stays at its place, and the batch keeps its size, so that kernels round as before; what
    a defense does otherwise when it is merely asked again is taken off. The neighbors become plain
    gray images, and images of noise: what flags attacked inputs passes the ones and stops the
    others. Above :data:`COUPLED` the defense is batch-coupled: its figures depend on the batch size,
    and a batch is another defense than what is deployed.

    Args:
        guarded: a classifier or an embedder behind its defense.
        x: images ``[B, C, H, W]``, two or more.
        keys: one for each.
        kept: how many of them are looked at, evenly over the batch.
    """
    own = _told(guarded, x, keys)
    floor = _distance(own, _told(guarded, x, keys))
    rows = torch.linspace(0, len(x) - 1, min(kept, len(x))).round().long()
    gray = torch.full_like(x, 0.5)
    noise = keys.fold("neighbor").uniform(x.shape[1:], like=x)
    return torch.stack([_moved(guarded, x, keys, int(row), (gray, noise), own) - floor[row] for row in rows])


def _moved(guarded: Guarded, x: Tensor, keys: Keys, row: int, others: tuple[Tensor, ...], own: Tensor) -> Tensor:
    """The furthest that the answer to one sample moves among these others."""
    far = []
    for neighbors in others:
        batch = neighbors.clone()
        batch[row] = x[row]
        far.append(_distance(own, _told(guarded, batch, keys))[row])
    return torch.stack(far).amax()


def _told(guarded: Guarded, x: Tensor, keys: Keys) -> Tensor:
    return guarded.decide(x, keys).scores.float()


def _distance(own: Tensor, other: Tensor) -> Tensor:
    length: Tensor = (own - other).norm(dim=1) / own.norm(dim=1).clamp_min(1e-12)
    return length
