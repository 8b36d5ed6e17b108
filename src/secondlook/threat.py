"""What the attacker may do: the norm ball in pixel space, and the independent check of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import BeforeValidator
from torch import Tensor

from secondlook import l1
from secondlook.bounds import Bounds
from secondlook.errors import BrokenThreat, InvalidInput

Norm = Literal["linf", "l2", "l1"]
Knowledge = Literal["clean", "oblivious", "transfer", "black-box", "adaptive"]

LEVELS = 255
_SLACK = 1e-5
_LARGEST = 150_000_000
"""Numbers in the largest picture that is read."""
_LONGEST = {"linf": 1.0, "l2": math.sqrt(_LARGEST), "l1": float(_LARGEST)}


def fraction(text: str | float) -> float:
    """Reads ``8/255``, ``0.03`` or a number.

    Raises:
        InvalidInput: it is none of these.

    Example:
        >>> fraction("51/255")
        0.2
    """
    try:
        above, _, below = ("" if isinstance(text, bool) else str(text)).partition("/")
        value = float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        value = math.nan
    if not math.isfinite(value):
        raise InvalidInput(f"{text!r} is no finite number; write 8/255 or 0.0314")
    return value


def in_levels(value: float) -> str:
    """Writes a length in pixel units as :func:`fraction` reads it.

    Example:
        >>> in_levels(1 / 255), in_levels(0.0)
        ('1/255', '0')
    """
    return f"{value * LEVELS:.4g}/{LEVELS}" if value else "0"


Pixels = Annotated[float, BeforeValidator(fraction)]
"""A length in pixel units; a setting may say ``2/255``."""
Length = Annotated[Pixels, Bounds(0, unit="in pixel units: 2/255")]
"""A length that is not negative."""
Reach = Annotated[Pixels, Bounds(0, 1, above=True, unit="in pixel units: 8/255")]
"""A length above 0, and at most from black to white."""


def per_sample(values: Tensor) -> Tensor:
    """Shapes one value per sample ``[B]`` so that it broadcasts over ``[B, C, H, W]``."""
    return values.view(-1, 1, 1, 1)


def _same_shape(x: Tensor, clean: Tensor) -> None:
    if x.shape != clean.shape:
        raise BrokenThreat(f"shape {tuple(x.shape)} became of {tuple(clean.shape)}")


@dataclass(frozen=True, kw_only=True)
class Threat:
    """A norm ball of radius ``eps`` around each image, within the pixel range [0, 1].

    Attributes:
        norm: ``linf`` (largest change of a channel), ``l2`` (Euclidean length of the change) or
            ``l1`` (sum of all changes).
        eps: radius in pixel units, where 1 is white; ``8/255`` for the usual L∞ budget.
        grid: the highest level of a pixel in the file that an attacker hands in, 255 for 8 bits;
            an attack's result is then rounded to it. None hands in floats.

    Raises:
        InvalidInput: an unknown norm, an ``eps`` that is not in pixel units, or a grid below 1.
    """

    norm: Norm = "linf"
    eps: float = 8 / 255
    grid: int | None = None

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2", "l1"):
            raise InvalidInput(f"norm={self.norm!r} is unknown; write 'linf', 'l2' or 'l1'")
        if not self.eps > 0:
            raise InvalidInput(f"eps={self.eps:g} is not positive; write 8/255, say")
        if self.norm == "linf" and self.eps > 1:
            raise InvalidInput(f"eps={self.eps:g} is outside [0, 1]; eps is in pixel units, write {self.eps:g}/255")
        if self.eps > _LONGEST[self.norm]:
            raise InvalidInput(
                f"eps={self.eps:g} is more than any picture can change in {self.norm}; write 0.5 in l2, 12 in l1, say"
            )
        if self.grid is not None and self.grid < 1:
            raise InvalidInput(f"grid={self.grid} has no levels; write 255, or None for floats")

    @classmethod
    def parse(cls, norm: str, eps: str | float) -> Threat:
        """Reads what a user writes: ``8/255``.

        Raises:
            InvalidInput: as the class does; or an L∞ radius of 1, which bounds nothing and is
                most often a slip for 1/255.
        """
        threat = cls(norm=norm, eps=fraction(eps))  # type: ignore[arg-type]
        if norm == "linf" and threat.eps == 1:
            raise InvalidInput("eps=1 bounds nothing; eps is in pixel units, write 1/255")
        return threat

    def __str__(self) -> str:
        if self.norm == "linf":
            return f"L∞ {self.eps * LEVELS:.4g}/255"
        return f"{self.norm.upper()} {self.eps:.4g}"

    def size(self, delta: Tensor) -> Tensor:
        """The norm of each change, ``[B, C, H, W] -> [B]``."""
        flat = delta.flatten(1)
        if self.norm == "linf":
            return flat.abs().amax(1)
        return flat.norm(dim=1) if self.norm == "l2" else flat.abs().sum(1)

    def project(self, x: Tensor, clean: Tensor) -> Tensor:
        """The point of the ball (and of the pixel range) that stands for ``x``.

        In L∞ and L1 it is the nearest one; in L2 the change is shortened, and then clipped.

        Raises:
            BrokenThreat: ``x`` has another shape, and would be broadcast.
        """
        _same_shape(x, clean)
        if self.norm == "l1":
            return l1.project(x, clean, self.eps)
        delta = x - clean
        # In place from here on: this is in the inner loop of every attack.
        if self.norm == "linf":
            delta.clamp_(-self.eps, self.eps)
        else:
            delta *= per_sample((self.eps / self.size(delta).clamp_min(1e-12)).clamp_max(1))
        return delta.add_(clean).clamp_(0, 1)

    def ascend(self, gradient: Tensor, step: float | Tensor) -> Tensor:
        """The steepest ascent step of length ``step`` for the norm, ``[B, C, H, W]``.

        The length is one for all, or one for each sample, ``[B, 1, 1, 1]``.

        In L1 the steepest is a single coordinate, which the pixel range would soon stop: a step
        goes to the largest 5 % of them (after SLIDE, Tramèr & Boneh 2019).
        """
        if self.norm == "linf":
            return step * gradient.sign()
        if self.norm == "l1":
            return step * l1.sparse_step(gradient, l1.SHARE)
        length = gradient.flatten(1).norm(dim=1).clamp_min(1e-12)
        return step * gradient / per_sample(length)

    def check(self, x: Tensor, clean: Tensor) -> None:
        """Verifies shape, range and norm, and believes nobody.

        Raises:
            BrokenThreat: ``x`` is not a legal adversarial of ``clean``.
        """
        _same_shape(x, clean)
        if not len(x):
            return
        if not bool(torch.isfinite(x).all()):
            raise BrokenThreat("the adversarial has NaN or infinite pixels")
        if float(x.min()) < 0 or float(x.max()) > 1:
            raise BrokenThreat(f"pixels in [{float(x.min()):g}, {float(x.max()):g}], not [0, 1]")
        worst = float(self.size(x - clean).max())
        if worst > self.eps * (1 + _SLACK) + 1e-6:
            raise BrokenThreat(f"{self.norm} distance {worst:g} is above eps={self.eps:g}")

    def quantize(self, x: Tensor, clean: Tensor) -> Tensor:
        """Rounds to the grid without leaving the ball; without a grid it is ``x`` itself.

        Where ``clean`` is not on the grid itself, and the ball holds no grid point that is found
        (a pixel of it in L∞, the whole image in L2 and L1), ``x`` stays as it is.
        """
        if self.grid is None:
            return x
        levels, origin = x * self.grid, clean * self.grid
        if self.norm == "linf":
            reach = self.eps * self.grid + 1e-4
            low, high = (origin - reach).ceil().clamp_min(0), (origin + reach).floor()
            rounded = torch.where(low > high, levels, levels.round().clamp(low, high))
        elif self.norm == "l2":
            rounded = self._quantize_l2(levels, origin)
        else:
            rounded = l1.rounded(levels, origin, self.eps * self.grid)
        return rounded.clamp(0, self.grid) / self.grid

    def _quantize_l2(self, levels: Tensor, origin: Tensor) -> Tensor:
        """Rounds to nearest; towards the clean image, or less far, where that leaves the ball."""
        away = levels - origin
        shorter = ((origin + away * share).round() for share in l1.SHORTER)
        found = levels.round()
        for other in (origin.round() + away.trunc(), *shorter, levels):
            outside = self.size(found - origin) > self.eps * (self.grid or 1)
            if not bool(outside.any()):
                break
            found = torch.where(per_sample(outside), other, found)
        return found
