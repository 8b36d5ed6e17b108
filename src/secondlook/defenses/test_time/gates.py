"""A gate of a defense: hard where it decides, a smooth step where an attacker differentiates it."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from secondlook.models.purifiers.soft import straight_through

SOFTNESS: Final = 0.02
"""Width of the smooth step, in what the gate reads: cosines, shares of a length."""


def soft_gate(signed: Tensor) -> Tensor:
    """1 where ``signed`` ``[B]`` is above 0, else 0; its gradient is that of a logistic step."""
    return straight_through((signed / SOFTNESS).sigmoid(), (signed > 0).to(signed))


def gated(gate: Tensor, inside: Tensor, outside: Tensor) -> Tensor:
    """``inside`` ``[B, D]`` where the gate ``[B]`` is 1, ``outside`` where it is 0, to the bit; with a gradient."""
    mixed = outside + gate[:, None] * (inside - outside)
    return straight_through(mixed, torch.where(gate[:, None] > 0, inside, outside).detach())
