"""Purifiers of sounds without weights: what they take out, what they leave, their gradients."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from secondlook.errors import InvalidInput
from secondlook.models.purifiers import waveforms
from secondlook.models.purifiers.waveforms import BandPass, LossyCodec, Resampled, aligned
from secondlook.randomness import Keys
from secondlook.signals import SOUND, decibels

AT = torch.arange(8192) / 8000
LOW, HIGH = (0.1 * (2 * torch.pi * hertz * AT).sin()[None] for hertz in (400, 3000))
KEYS = Keys.of(0, [0])


def test_a_lower_rate_takes_high_frequencies_out_and_leaves_low_ones() -> None:
    made = SOUND.natural(Resampled(4000, 8000).purify(SOUND.carried(LOW + HIGH), KEYS))
    assert float(decibels(LOW[:, 300:-300], made[:, 300:-300])[0]) > 30


def test_a_band_leaves_what_is_in_it() -> None:
    made = SOUND.natural(BandPass(200, 1000, 8000).purify(SOUND.carried(LOW + HIGH), KEYS))
    assert float(decibels(LOW[:, 300:-300], made[:, 300:-300])[0]) > 25


@pytest.mark.parametrize("codec", ["mp3", "opus", "vorbis"])
def test_a_codec_changes_little_is_aligned_and_passes_gradients_straight(codec: waveforms.Codec) -> None:
    pytest.importorskip("soundfile")
    x = SOUND.carried(LOW).requires_grad_()
    made = LossyCodec(codec).purify(x, KEYS)
    assert float(decibels(LOW, SOUND.natural(made.detach()))[0]) > 8
    made.sum().backward()
    assert x.grad is not None and bool((x.grad == 1).all())


def test_a_shift_is_taken_back_and_silence_stays() -> None:
    wave = np.random.default_rng(0).standard_normal(500)
    assert np.allclose(aligned(np.concatenate([np.zeros(3), wave]), wave), wave)
    assert not aligned(np.zeros(480), np.zeros(500)).any()


def test_bad_settings_are_told() -> None:
    for make, named in (
        (lambda: Resampled(8000, 8000), "lower"),
        (lambda: BandPass(500, 200, 8000), "low < high"),
        (lambda: BandPass(100, 5000, 8000), "4000"),
        (lambda: LossyCodec("mp3", 2.0), r"\[0, 1\]"),
        (lambda: LossyCodec("aac"), "unknown"),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidInput, match=named):
            make()


def test_a_codec_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waveforms.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InvalidInput, match=r"secondlook\[audio\]"):
        LossyCodec("mp3")


def test_a_library_without_the_codec_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(held: io.BytesIO, *args: object, **kwargs: object) -> None:
        raise RuntimeError("no such format")

    library = SimpleNamespace(write=write, __libsndfile_version__="1.0.28")
    monkeypatch.setattr(waveforms.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(waveforms.importlib, "import_module", lambda name: library)
    with pytest.raises(InvalidInput, match="1.0.28"):
        LossyCodec("opus")
