"""Recorded sounds at one rate and length."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from secondlook import data
from secondlook.data.sounds import write_wave
from secondlook.errors import InvalidInput
from secondlook.signals import SOUND


def tone(path: Path, hertz: float, rate: int, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    at = torch.arange(round(seconds * rate)) / rate
    write_wave(path, 0.5 * (2 * torch.pi * hertz * at).sin(), rate)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tone(tmp_path / "high_tone" / "1.wav", 900, 16_000, 0.5)
    tone(tmp_path / "low" / "1.wav", 300, 8000, 0.1)
    tone(tmp_path / "low" / "2.wav", 300, 8000, 2.0)
    return tmp_path


def test_sounds_of_any_rate_and_length_are_brought_to_one(folder: Path) -> None:
    source = data.load(f"waveforms:{folder}", rate=8000, length=4000)
    found = source.read([0, 1, 2], (1, 4000))
    assert source.classes == ("high tone", "low") and found.truth.tolist() == [0, 1, 1]
    assert found.images.shape == (3, 1, 1, 4000)
    waves = SOUND.natural(found.images)
    assert torch.equal(waves * 32768, (waves * 32768).round())
    peaks = torch.fft.rfft(waves[[0, 2]]).abs().argmax(1) * 8000 / 4000
    assert peaks.tolist() == [900, 300]
    assert not waves[1, 820:].any() and waves[1, :780].any()


def test_one_of_them_is_read_as_it_is_among_others(folder: Path) -> None:
    source = data.load(f"waveforms:{folder}", rate=8000, length=4000)
    assert torch.equal(source.read([2], None).images, source.read([0, 1, 2], None).images[2:])
    assert source.hash != data.load(f"waveforms:{folder}", rate=8000, length=2000).hash


def test_published_layouts_are_read(tmp_path: Path) -> None:
    for name in ("001_Dog-bark__1.wav", "002_Rain__2.wav"):
        tone(tmp_path / name, 440, 8000, 0.2)
    source = data.load(f"waveforms:{tmp_path}?layout=esc10&rate=8000&length=1600")
    assert source.classes == ("dog bark", "rain") and source.read([1], None).images.shape == (1, 1, 1, 1600)


def test_what_does_not_fit_is_told(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="length=8192"):
        data.load(f"waveforms:{folder}", length=4000).read([0], (1, 8192))
    with pytest.raises(InvalidInput, match="no folder"):
        data.load(f"waveforms:{tmp_path / 'nowhere'}")
    with pytest.raises(InvalidInput, match="two or more"):
        data.load(f"waveforms:{folder / 'low'}")
