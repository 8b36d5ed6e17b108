"""From waveforms to spectrograms and back: the short-time Fourier transform, mel bands, a resampler.

All of it is differentiable, and each row is computed by itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Spectrogram:
    """Mel bands over a short-time Fourier transform with a Hann window.

    Attributes:
        rate: samples in a second.
        points: samples in a window.
        hop: samples from a window to the next; a whole number of hops makes a sound.
        bands: triangles on the mel scale (HTK), none of them scaled by its width.
        lowest: Hz, where the first triangle begins; the last ends at half the rate.
        floor: what is added to the energies before the logarithm, so that silence has a gradient.
    """

    rate: int = 8000
    points: int = 512
    hop: int = 128
    bands: int = 64
    lowest: float = 40.0
    floor: float = 1e-6

    def transform(self, wave: Tensor) -> Tensor:
        """``[B, T]`` to a complex spectrum ``[B, points / 2 + 1, T / hop + 1]``.

        Raises:
            InvalidInput: the sound is shorter than a window.
        """
        if wave.dim() != 2 or wave.shape[1] < self.points:
            raise InvalidInput(f"a sound of shape {tuple(wave.shape)}; give [B, T], T at least {self.points}: a window")
        found: Tensor = torch.stft(
            wave, self.points, self.hop, window=_window(self.points, wave), pad_mode="reflect", return_complex=True
        )
        return found

    def inverse(self, spectrum: Tensor, length: int) -> Tensor:
        """The waveform ``[B, length]`` whose spectrum is nearest (Griffin & Lim 1984, equation 6)."""
        window = _window(self.points, spectrum.real)
        found: Tensor = torch.istft(spectrum, self.points, self.hop, window=window, length=length)
        return found

    def energies(self, spectrum: Tensor) -> Tensor:
        """Energies of the mel bands ``[B, bands, frames]`` of a spectrum."""
        power = spectrum.real.square() + spectrum.imag.square()
        return self.filters().to(power) @ power

    def log_mel(self, wave: Tensor) -> Tensor:
        """Natural logarithms of the energies ``[B, bands, T / hop]`` of a waveform ``[B, T]``."""
        return (self.energies(self.transform(wave))[..., : wave.shape[1] // self.hop] + self.floor).log()

    def filters(self) -> Tensor:
        """The weight of each point of a spectrum in each band, ``[bands, points / 2 + 1]``, fp64."""
        return mel_filters(self.rate, self.points, self.bands, self.lowest)


@cache
def _hann(points: int) -> Tensor:
    return torch.hann_window(points, dtype=torch.float64)


def _window(points: int, like: Tensor) -> Tensor:
    return _hann(points).to(like)


@cache
def mel_filters(rate: int, points: int, bands: int, lowest: float) -> Tensor:
    """Triangles whose corners are evenly spaced in mel = 2595 log10(1 + f / 700), ``[bands, points / 2 + 1]``.

    Example:
        >>> mel_filters(8000, 512, 64, 40.0).shape
        torch.Size([64, 257])
    """
    low, high = (2595 * math.log10(1 + hertz / 700) for hertz in (lowest, rate / 2))
    mels = torch.linspace(low, high, bands + 2, dtype=torch.float64)
    corners = 700 * (10 ** (mels / 2595) - 1)
    at = torch.linspace(0, rate / 2, points // 2 + 1, dtype=torch.float64)
    left, middle, right = corners[:-2, None], corners[1:-1, None], corners[2:, None]
    return torch.minimum((at - left) / (middle - left), (right - at) / (right - middle)).clamp_min(0)


def resampled(wave: Tensor, rate: int, wanted: int, zeros: int = 16) -> Tensor:
    """``[B, T]`` at another rate, ``[B, ceil(T · wanted / rate)]``, by a sinc in a Hann window.

    What the lower of both rates cannot hold is filtered out.

    Args:
        wave: the samples.
        rate: theirs, in Hz.
        wanted: the other one.
        zeros: crossings of the sinc on either side.

    Raises:
        InvalidInput: a rate below 1.
    """
    if min(rate, wanted) < 1:
        raise InvalidInput(f"a rate of {min(rate, wanted)} Hz; write one from 1")
    if rate == wanted:
        return wave
    shared = math.gcd(rate, wanted)
    down, up = rate // shared, wanted // shared
    kernel = _sinc(down, up, zeros).to(wave)
    reach = (kernel.shape[-1] - down) // 2
    count = -(-wave.shape[1] * up // down)
    padded = F.pad(wave, (reach, reach + down))[:, None]
    return F.conv1d(padded, kernel[:, None], stride=down).transpose(1, 2).flatten(1)[:, :count]


@cache
def _sinc(down: int, up: int, zeros: int) -> Tensor:
    """A filter for each of the ``up`` samples that stand for ``down`` of them, ``[up, taps]``."""
    cut = 0.97 * min(1.0, up / down)
    reach = math.ceil(zeros / cut)
    taps = torch.arange(-reach, reach + down, dtype=torch.float64)
    away = taps[None, :] - torch.arange(up, dtype=torch.float64)[:, None] * down / up
    window = torch.cos(math.pi * (away * cut / zeros).clamp(-1, 1) / 2).square()
    return cut * torch.sinc(cut * away) * window
