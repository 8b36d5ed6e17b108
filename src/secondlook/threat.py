"""What the attacker may do: the norm ball around an image or a sound, and the independent check of it."""

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
from secondlook.signals import IMAGE, SOUND, Signal, loudness

Norm = Literal["linf", "l2", "l1", "snr"]
Ball = Literal["linf", "l2", "l1"]
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


def scale(norm: Norm, signal: Signal) -> str:
    """What a row calls a norm, so that budgets of sounds and images are told apart.

    Example:
        >>> scale("linf", IMAGE), scale("snr", IMAGE)
        ('linf', 'snr')
    """
    return norm if signal is IMAGE or norm == "snr" else f"{signal.name} {norm}"


def per_sample(values: Tensor) -> Tensor:
    """Shapes one value per sample ``[B]`` so that it broadcasts over ``[B, C, H, W]``."""
    return values.view(-1, 1, 1, 1)


def _same_shape(x: Tensor, clean: Tensor) -> None:
    if x.shape != clean.shape:
        raise BrokenThreat(f"shape {tuple(x.shape)} became of {tuple(clean.shape)}")


@dataclass(frozen=True, kw_only=True)
class Threat:
    """A norm ball of radius ``eps`` around each input, within its range.

    Attributes:
        norm: ``linf`` (largest change of a channel or sample), ``l2`` (Euclidean length of the
            change) or ``l1`` (sum of all changes); of a sound also ``snr``, the L2 ball whose radius
            is the sound's own length ‖x‖ · 10^(-eps / 20).
        eps: radius in units of the signal: in pixel units, where 1 is white, ``8/255`` for the
            usual L∞ budget; of full scale for a sound, ``0.002``; for ``snr`` the least ratio in dB.
        grid: steps of a file in one unit, 255 for 8 bits, 32,768 for 16-bit samples; an attack's
            result is then rounded to it. None hands in floats.
        signal: what kind of input it is.

    Raises:
        InvalidInput: an unknown norm, or one that does not bound this signal; an ``eps`` that is
            not in units of it, or a grid below 1.
    """

    norm: Norm = "linf"
    eps: float = 8 / 255
    grid: int | None = None
    signal: Signal = IMAGE

    def __post_init__(self) -> None:
        if self.norm not in ("linf", "l2", "l1", "snr"):
            raise InvalidInput(f"norm={self.norm!r} is unknown; write 'linf', 'l2' or 'l1'")
        if self.norm not in self.signal.norms:
            known = ", ".join(map(repr, self.signal.norms))
            raise InvalidInput(f"norm={self.norm!r} bounds no {self.signal.name}; write one of {known}")
        if self.norm == "snr":
            if not -20 <= self.eps <= 120:
                raise InvalidInput(f"snr={self.eps:g} is outside -20 to 120 dB; 30 is usual")
        elif not self.eps > 0:
            raise InvalidInput(f"eps={self.eps:g} is not positive; write 8/255, say")
        elif self.norm == "linf" and self.eps > 1:
            raise InvalidInput(f"eps={self.eps:g} is outside [0, 1]; eps is in pixel units, write {self.eps:g}/255")
        elif self.eps > _LONGEST[self.norm]:
            raise InvalidInput(
                f"eps={self.eps:g} is more than any picture can change in {self.norm}; write 0.5 in l2, 12 in l1, say"
            )
        if self.grid is not None and self.grid < 1:
            raise InvalidInput(f"grid={self.grid} has no levels; write {self.signal.grid}, or None for floats")

    @classmethod
    def parse(cls, norm: str, eps: str | float) -> Threat:
        """Reads what a user writes: ``8/255``.

        Raises:
            InvalidInput: as the class does; or an L∞ radius of 1, which bounds nothing and is
                most often a slip for 1/255.
        """
        signal = SOUND if norm == "snr" else IMAGE
        threat = cls(norm=norm, eps=fraction(eps), signal=signal)  # type: ignore[arg-type]
        if norm == "linf" and threat.eps == 1:
            raise InvalidInput("eps=1 bounds nothing; eps is in pixel units, write 1/255")
        return threat

    def __str__(self) -> str:
        if self.norm == "snr":
            return f"SNR {self.eps:.4g} dB"
        if self.norm == "linf" and self.signal is not IMAGE:
            return f"L∞ {self.eps:.4g}"
        if self.norm == "linf":
            return f"L∞ {self.eps * LEVELS:.4g}/255"
        return f"{self.norm.upper()} {self.eps:.4g}"

    @property
    def ball(self) -> Ball:
        """The norm whose ball it is: that of ``snr`` is one of L2."""
        return "l2" if self.norm == "snr" else self.norm

    def radius(self, clean: Tensor) -> float | Tensor:
        """The radius around each of the inputs as they are carried: one, or ``[B, 1, 1, 1]``.

        Raises:
            InvalidInput: the norm is ``snr``, and a sound is silent.
        """
        if self.norm != "snr":
            return self.eps / self.signal.span
        lengths = loudness(self.signal.natural(clean)) * 10 ** (-self.eps / 20) / self.signal.span
        return per_sample(lengths.to(clean))

    def radii(self, clean: Tensor) -> float | Tensor:
        """:meth:`radius` as one for all, or as ``[B]``."""
        found = self.radius(clean)
        return found.flatten() if isinstance(found, Tensor) else found

    @property
    def levels(self) -> int:
        """Steps of the grid over the whole range; 0 without a grid."""
        return round((self.grid or 0) * self.signal.span)

    def size(self, delta: Tensor) -> Tensor:
        """The norm of each change, ``[B, C, H, W] -> [B]``."""
        flat = delta.flatten(1)
        if self.ball == "linf":
            return flat.abs().amax(1)
        return flat.norm(dim=1) if self.ball == "l2" else flat.abs().sum(1)

    def project(self, x: Tensor, clean: Tensor) -> Tensor:
        """The point of the ball (and of the pixel range) that stands for ``x``.

        In L∞ and L1 it is the nearest one; in L2 the change is shortened, and then clipped.

        Raises:
            BrokenThreat: ``x`` has another shape, and would be broadcast.
        """
        _same_shape(x, clean)
        radius = self.radius(clean)
        if isinstance(radius, float) and self.ball == "l1":
            return l1.project(x, clean, radius)
        delta = x - clean
        # In place from here on: this is in the inner loop of every attack.
        if isinstance(radius, float) and self.ball == "linf":
            delta.clamp_(-radius, radius)
        else:
            delta *= (radius / per_sample(self.size(delta).clamp_min(1e-12))).clamp_max(1)
        return delta.add_(clean).clamp_(0, 1)

    def ascend(self, gradient: Tensor, step: float | Tensor) -> Tensor:
        """The steepest ascent step of length ``step`` for the norm, ``[B, C, H, W]``.

        The length is one for all, or one for each sample, ``[B, 1, 1, 1]``.

        In L1 the steepest is a single coordinate, which the pixel range would soon stop: a step
        goes to the largest 5 % of them (after SLIDE, Tramèr & Boneh 2019).
        """
        if self.ball == "linf":
            return step * gradient.sign()
        if self.ball == "l1":
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
        size, radii = self.size(x - clean), self.radii(clean)
        if bool((size > radii * (1 + _SLACK) + 1e-6).any()):
            if self.norm == "snr":
                raise BrokenThreat(f"a signal-to-noise ratio is below {self.eps:g} dB")
            worst = float(size.max()) * self.signal.span
            raise BrokenThreat(f"{self.norm} distance {worst:g} is above eps={self.eps:g}")

    def quantize(self, x: Tensor, clean: Tensor) -> Tensor:
        """Rounds to the grid without leaving the ball; without a grid it is ``x`` itself.

        Where ``clean`` is not on the grid itself, and the ball holds no grid point that is found
        (a pixel of it in L∞, the whole image in L2 and L1), ``x`` stays as it is.
        """
        if self.grid is None:
            return x
        steps, radius = self.levels, self.radius(clean)
        levels, origin = x * steps, clean * steps
        if isinstance(radius, float) and self.ball == "linf":
            reach = radius * steps + 1e-4
            low, high = (origin - reach).ceil().clamp_min(0), (origin + reach).floor()
            rounded = torch.where(low > high, levels, levels.round().clamp(low, high))
        elif isinstance(radius, float) and self.ball == "l1":
            rounded = l1.rounded(levels, origin, radius * steps)
        else:
            rounded = self._quantize_l2(levels, origin, self.radii(clean) * steps)
        return rounded.clamp(0, steps if self.signal.full else steps - 1) / steps

    def _quantize_l2(self, levels: Tensor, origin: Tensor, reach: float | Tensor) -> Tensor:
        """Rounds to nearest; towards the clean image, or less far, where that leaves the ball."""
        away = levels - origin
        shorter = ((origin + away * share).round() for share in l1.SHORTER)
        found = levels.round()
        for other in (origin.round() + away.trunc(), *shorter, levels):
            outside = self.size(found - origin) > reach
            if not bool(outside.any()):
                break
            found = torch.where(per_sample(outside), other, found)
        return found
