"""What kind of input is attacked: its range, its steps in a file, and the way to the inside of the package.

An image is ``[B, C, H, W]`` in [0, 1] and goes as it is. A sound is ``[B, T]`` in [-1, 1]; inside of the package it
is carried as an image of one row, ``[B, 1, 1, T]`` in [0, 1], by ``(w + 1) / 2``. That is exact in fp32 for what a
16-bit file holds, so that attacks, votes, purifiers and checks are the same code for both.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import torch
from torch import Tensor

from secondlook.errors import InvalidInput, UnknownName

SignalName = Literal["image", "sound"]


@dataclass(frozen=True, kw_only=True)
class Signal:
    """A kind of input.

    Attributes:
        name: ``image`` or ``sound``.
        low: what 0 stands for inside; 1 stands for ``low + span``.
        span: the range.
        grid: steps of a file in one unit: 255 for 8 bits, 32,768 for 16-bit samples.
        full: whether the upper end of the range is on the grid; +1.0 has no 16-bit value.
        file: the form of that file.
        norms: the norms that bound a change of it.
    """

    name: SignalName
    low: float
    span: float
    grid: int
    full: bool
    file: str
    norms: tuple[str, ...]

    def carried(self, natural: Tensor) -> Tensor:
        """A batch in its own shape and range as ``[B, C, H, W]`` in [0, 1]."""
        if self.span == 1:
            return natural
        return ((natural - self.low) / self.span)[:, None, None]

    def natural(self, carried: Tensor) -> Tensor:
        """The way back: ``[B, C, H, W]`` in [0, 1] in its own shape and range."""
        if self.span == 1:
            return carried
        return carried[:, 0, 0] * self.span + self.low

    def stored(self, carried: Tensor) -> Tensor:
        """The whole numbers of a file: uint8 ``[B, C, H, W]``, or int16 ``[B, 1, 1, T]``."""
        if self.span == 1:
            return (carried * self.grid).round().byte()
        steps = (carried * self.span * self.grid).round() + self.low * self.grid
        return steps.clamp(-self.grid, self.grid - 1).to(torch.int16)

    def read(self, stored: Tensor, dtype: torch.dtype) -> Tensor:
        """What :meth:`stored` made, in [0, 1] again."""
        if self.span == 1:
            return stored.to(dtype) / self.grid
        return (stored.to(dtype) - self.low * self.grid) / (self.span * self.grid)


IMAGE: Final = Signal(
    name="image", low=0.0, span=1.0, grid=255, full=True, file="an 8-bit image", norms=("linf", "l2", "l1")
)
SOUND: Final = Signal(
    name="sound", low=-1.0, span=2.0, grid=32_768, full=False, file="16-bit PCM", norms=("linf", "l2", "snr")
)
SIGNALS: Final = MappingProxyType[str, Signal]({each.name: each for each in (IMAGE, SOUND)})


def signal(name: str) -> Signal:
    """The kind of input of this name.

    Raises:
        UnknownName: there is none.
    """
    if name not in SIGNALS:
        raise UnknownName("signal", name, SIGNALS)
    return SIGNALS[name]


def signal_of(stored: Tensor) -> Signal:
    """Whose file has numbers of this type: :meth:`Signal.stored` the other way round."""
    return SOUND if stored.dtype == torch.int16 else IMAGE


def decibels(clean: Tensor, other: Tensor) -> Tensor:
    """Signal-to-noise ratio of waveforms ``[B, T]``, ``[B]`` in dB: 20 log10(‖clean‖ / ‖other - clean‖).

    It is infinite where nothing has changed.

    Raises:
        InvalidInput: a waveform is silent, which has no such ratio.

    Example:
        >>> decibels(torch.ones(1, 4), torch.full((1, 4), 1.1)).round().tolist()
        [20.0]
    """
    ratio: Tensor = 20 * (loudness(clean) / (other - clean).double().norm(dim=1)).log10()
    return ratio


def loudness(waves: Tensor) -> Tensor:
    """The L2 lengths of waveforms ``[B, T]``, ``[B]`` in fp64.

    Raises:
        InvalidInput: one is silent.
    """
    lengths: Tensor = waves.double().norm(dim=1)
    if bool((lengths == 0).any()):
        row = int((lengths == 0).nonzero()[0])
        raise InvalidInput(f"sound {row} is silent, and has no signal-to-noise ratio; leave it out, or write eps")
    return lengths


def segmental(clean: Tensor, other: Tensor, window: int = 256) -> Tensor:
    """The mean over windows of their ratios, each cut to [-10, 35] dB (Hansen & Pellom 1998), ``[B]``.

    Windows of silence are left out; where all of them are silent it is NaN.
    """
    cut = clean.shape[1] - clean.shape[1] % window
    parts, changes = (t[:, :cut].double().unflatten(1, (-1, window)) for t in (clean, other - clean))
    loud, noise = parts.square().sum(2), changes.square().sum(2)
    ratios = (10 * (loud / noise.clamp_min(1e-30)).log10()).clamp(-10, 35)
    heard = loud > 0
    mean: Tensor = torch.where(heard, ratios, 0).sum(1) / heard.sum(1)
    return mean


def distribution(values: Sequence[float]) -> str:
    """Least, quartiles and greatest of some ratios, as a row of sound prints them.

    Example:
        >>> distribution([20.0, 30.0, 40.0])
        'SNR 20.0 / 25.0 / 30.0 / 35.0 / 40.0 dB (least, quartiles, greatest)'
    """
    at = torch.tensor([0, 0.25, 0.5, 0.75, 1], dtype=torch.float64)
    found = torch.quantile(torch.tensor(values, dtype=torch.float64), at).tolist()
    return f"SNR {' / '.join(f'{value:.1f}' for value in found)} dB (least, quartiles, greatest)"
