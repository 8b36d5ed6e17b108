"""Spectrograms and the resampler: Parseval, a published filter bank, inversion, a sine at another rate."""

from __future__ import annotations

import pytest
import torch

from secondlook.errors import InvalidInput
from secondlook.models.spectrogram import Spectrogram, mel_filters, resampled

WAVE = torch.randn(2, 4096, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_energy_of_the_spectrum_is_that_of_the_windowed_sound() -> None:
    """Parseval: over all points and frames, the windows' squares sum to 1.5 at a hop of a quarter."""
    inside = WAVE.clone()
    inside[:, :600], inside[:, -600:] = 0, 0
    power = Spectrogram().transform(inside).abs().square()
    twice = 2 * power.sum((1, 2)) - power[:, 0].sum(1) - power[:, -1].sum(1)
    assert torch.allclose(twice / 512, 1.5 * inside.square().sum(1), rtol=1e-9)


def test_the_inverse_gives_the_sound_back() -> None:
    spectrogram = Spectrogram()
    assert torch.allclose(spectrogram.inverse(spectrogram.transform(WAVE), 4096), WAVE, atol=1e-9)


def test_the_filters_are_those_of_a_published_front_end() -> None:
    audio = pytest.importorskip("transformers.audio_utils")
    bank = audio.mel_filter_bank(257, 64, 40.0, 4000.0, 8000, norm=None, mel_scale="htk")
    assert torch.allclose(mel_filters(8000, 512, 64, 40.0).T, torch.from_numpy(bank), atol=1e-6)


def test_silence_has_a_gradient() -> None:
    wave = torch.full((1, 1024), 1e-6, requires_grad=True)
    Spectrogram().log_mel(wave).sum().backward()
    assert wave.grad is not None and bool((wave.grad != 0).all(1).any())


@pytest.mark.parametrize(("rate", "wanted"), [(8000, 4000), (16000, 8000), (8000, 16000), (44100, 8000)])
def test_a_sine_is_the_same_sine_at_another_rate(rate: int, wanted: int) -> None:
    at, other = (torch.arange(each, dtype=torch.float64) / each for each in (rate, wanted))
    made = resampled((2 * torch.pi * 700 * at).sin()[None], rate, wanted)[0]
    assert len(made) == wanted
    middle = slice(wanted // 10, -wanted // 10)
    assert float((made - (2 * torch.pi * 700 * other).sin())[middle].abs().max()) < 2e-3


def test_what_a_lower_rate_cannot_hold_is_gone() -> None:
    at = torch.arange(8000, dtype=torch.float64) / 8000
    assert float(resampled((2 * torch.pi * 3000 * at).sin()[None], 8000, 4000)[:, 200:-200].abs().max()) < 1e-2


def test_a_sound_shorter_than_a_window_is_told() -> None:
    with pytest.raises(InvalidInput, match="at least 512"):
        Spectrogram().log_mel(WAVE[:, :511])
