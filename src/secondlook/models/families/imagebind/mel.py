"""Sound as ImageBind takes it: clips of two seconds as log-mel spectrograms after Kaldi.

The filterbank follows the definition of Kaldi's ``fbank`` (``feature-window.cc``,
``mel-computations.cc``) with the settings of ImageBind (arXiv 2305.05665, appendix B): dither 0,
mean removed from each frame, pre-emphasis 0.97, a Hann window, powers of a 512-point spectrum,
triangles between 20 Hz and the Nyquist frequency on HTK's mel scale. All of it is differentiable.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput

RATE: Final = 16_000
"""Samples a second."""
BINS, FRAMES, CLIPS, SECONDS = 128, 204, 3, 2
WINDOW, HOP, POINTS = RATE * 25 // 1000, RATE * 10 // 1000, 512
MEAN, DEVIATION = -4.268, 9.138
"""Of the log-mel energies that ImageBind was trained on."""
_LOW, _EMPHASIS, _FLOOR = 20.0, 0.97, torch.finfo(torch.float32).eps


def mel_clips(waveform: Tensor) -> Tensor:
    """Three clips of two seconds, at the beginning, in the middle and at the end.

    Args:
        waveform: mono samples ``[B, T]`` in [-1, 1] at 16 kHz, ``T`` at least 400 (25 ms). Of less
            than two seconds, each clip is the whole.

    Returns:
        ``[B, 3, 1, 128, 204]``, normalized, as the modality ``audio`` takes it.

    Raises:
        InvalidInput: the waveform has another shape, or is too short.
    """
    if waveform.dim() != 2 or waveform.shape[1] < WINDOW or not waveform.is_floating_point():
        raise InvalidInput(
            f"waveform is {waveform.dtype} {tuple(waveform.shape)}; "
            f"give floats [B, T] at {RATE} Hz, T at least {WINDOW}"
        )
    length = SECONDS * RATE
    spare = max(waveform.shape[1] - length, 0)
    starts = [spare * clip // (CLIPS - 1) for clip in range(CLIPS)]
    clips = torch.stack([waveform[:, start : start + length] for start in starts], dim=1)
    mel = fbank(clips).transpose(-1, -2)[..., :FRAMES]
    # Frames that are missing are zeros before normalization, as in the published code.
    mel = F.pad(mel, (0, FRAMES - mel.shape[-1]))
    return ((mel - MEAN) / DEVIATION).unsqueeze(2)


def fbank(waveform: Tensor) -> Tensor:
    """Log-mel energies ``[..., frames, 128]`` of samples ``[..., T]`` at 16 kHz."""
    frames = waveform.float().unfold(-1, WINDOW, HOP)
    frames = frames - frames.mean(-1, keepdim=True)
    before = torch.cat([frames[..., :1], frames[..., :-1]], dim=-1)
    window = torch.hann_window(WINDOW, periodic=False, device=frames.device)
    spectrum = torch.fft.rfft((frames - _EMPHASIS * before) * window, n=POINTS)
    power = spectrum.real.square() + spectrum.imag.square()
    energies: Tensor = power @ triangles().to(power.device).T
    return energies.clamp(min=_FLOOR).log()


def triangles() -> Tensor:
    """The weight of each point of the spectrum in each bin, ``[128, 257]``."""
    low, high = _mel(_LOW), _mel(RATE / 2)
    edges = low + (high - low) / (BINS + 1) * torch.arange(BINS + 2, dtype=torch.float64)
    left, middle, right = (edges[shift : shift + BINS, None] for shift in range(3))
    points = torch.arange(POINTS // 2 + 1, dtype=torch.float64) * (RATE / POINTS)
    place = 1127 * torch.log1p(points / 700)
    rise, fall = (place - left) / (middle - left), (right - place) / (right - middle)
    return torch.minimum(rise, fall).clamp(min=0).float()


def _mel(hertz: float) -> float:
    return 1127 * math.log1p(hertz / 700)
