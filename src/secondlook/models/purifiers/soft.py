"""Purifiers that round: what decides is rounded, what is differentiated is smooth."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Final

import torch
from torch import Tensor

from secondlook.models.base import Purifier
from secondlook.randomness import Keys

_SLOPE: Final = 0.2


class SoftPurifier(Purifier):
    """A purifier without a gradient of its own, and the smooth function that stands for it there."""

    @abstractmethod
    def hard(self, x: Tensor, keys: Keys) -> Tensor:
        """What decides: one reconstruction of each image, ``[B, C, H, W]``, off the graph."""

    @abstractmethod
    def soft(self, x: Tensor, keys: Keys) -> Tensor:
        """What is differentiated: nearly the same, in smooth steps."""

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        """The value of :meth:`hard`, with the gradient of :meth:`soft`."""
        value = self.hard(x.detach(), keys)
        if not (torch.is_grad_enabled() and x.requires_grad):
            return value
        return straight_through(self.soft(x, keys), value)


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    """``value``, to the bit, on the way forward, the gradient of ``x`` on the way back.

    With the input as ``x`` it is the identity of BPDA (Athalye et al. 2018).
    """
    out: Tensor = _StraightThrough.apply(x, value)  # type: ignore[no-untyped-call]
    return out


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def rounded(x: Tensor) -> Tensor:
    """Whole numbers; what is rounded away counts as a constant, and the gradient is ``x``'s own."""
    return straight_through(x, x.detach().round())


def soft_rounded(x: Tensor) -> Tensor:
    """Whole numbers, with the gradient of rounding in smooth steps.

    The steps leave the cube of what is rounded away (Shin & Song 2017). Alone they would be flat
    on whole numbers, which is where the coefficients of an image lie that has been compressed
    before: a fifth of the identity's slope is added.
    """
    whole = x.detach().round()
    cut = x - whole
    return straight_through(cut**3 + _SLOPE * cut, whole)
