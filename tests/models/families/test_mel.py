"""Log-mel spectrograms, in closed form and against another implementation of Kaldi's."""

import math

import pytest
import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.families.imagebind import mel
from tests.closeness import same


def tone(hertz: float, seconds: float = 2, loud: float = 0.3) -> Tensor:
    times = torch.arange(int(seconds * mel.RATE), dtype=torch.float64) / mel.RATE
    return (loud * torch.sin(2 * math.pi * hertz * times)).float()


def noise(length: int) -> Tensor:
    return 0.1 * torch.randn(1, length, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("hertz", [500, 1000, 3000, 6000])
def test_a_tone_is_loudest_in_its_own_bin(hertz: float) -> None:
    low, high = (1127 * math.log1p(edge / 700) for edge in (20, 8000))
    place = (1127 * math.log1p(hertz / 700) - low) / (high - low) * 129 - 1
    loudest = mel.fbank(tone(hertz)).argmax(-1).float()
    assert ((loudest - place).abs() <= 1.5).all()


def test_frames_are_25_ms_every_10_ms() -> None:
    assert mel.fbank(noise(32_000)).shape == (1, 198, 128)
    assert mel.fbank(noise(400)).shape == (1, 1, 128)


def test_ten_times_louder_adds_as_much_to_every_bin_that_is_heard() -> None:
    quiet, loud = mel.fbank(noise(4000)), mel.fbank(10 * noise(4000))
    heard = quiet > -10
    assert heard.float().mean() > 0.9
    assert ((loud - quiet)[heard] - 2 * math.log(10)).abs().max() < 1e-4


def test_a_constant_is_silence() -> None:
    floor = math.log(torch.finfo(torch.float32).eps)
    torch.testing.assert_close(mel.fbank(torch.full((1, 800), 0.5)), torch.full((1, 3, 128), floor))


def test_each_triangle_peaks_at_its_middle_and_neighbors_share_the_rest() -> None:
    triangles = mel.triangles()
    assert triangles.shape == (128, 257)
    assert triangles.min() >= 0 and triangles.max() <= 1
    inside = triangles.sum(0)[2:250]
    torch.testing.assert_close(inside, torch.ones_like(inside))


@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_another_implementation_agrees() -> None:
    audio = pytest.importorskip("transformers.audio_utils")
    sound = noise(8000)[0] + 0.2 + tone(440, 0.5)
    filters = audio.mel_filter_bank(
        num_frequency_bins=257,
        num_mel_filters=128,
        min_frequency=20,
        max_frequency=8000,
        sampling_rate=16_000,
        mel_scale="kaldi",
        triangularize_in_mel_space=True,
    )
    told = audio.spectrogram(
        sound.numpy(),
        audio.window_function(400, "hann", periodic=False),
        frame_length=400,
        hop_length=160,
        fft_length=512,
        power=2.0,
        center=False,
        preemphasis=0.97,
        mel_filters=filters,
        log_mel="log",
        mel_floor=2**-23,
        remove_dc_offset=True,
    )
    torch.testing.assert_close(mel.fbank(sound), torch.from_numpy(told.T).float(), atol=1e-3, rtol=1e-4)


def test_clips_are_the_beginning_the_middle_and_the_end() -> None:
    sound = noise(5 * mel.RATE)
    clips = mel.mel_clips(sound)
    assert clips.shape == (1, 3, 1, 128, 204)
    for clip, start in enumerate((0, 24_000, 48_000)):
        one = mel.fbank(sound[:, start : start + 32_000]).transpose(1, 2)
        torch.testing.assert_close(clips[:, clip, 0, :, :198] * 9.138 - 4.268, one)
    # Frames that no sound is left for are zeros before normalization.
    torch.testing.assert_close(clips[..., 198:], torch.full((1, 3, 1, 128, 6), 4.268 / 9.138))


def test_of_a_short_sound_each_clip_is_the_whole() -> None:
    first, *others = mel.mel_clips(noise(12_000))[0]
    assert all(same(other, first) for other in others)


def test_gradients_reach_the_waveform() -> None:
    sound = noise(40_000).requires_grad_(True)
    (slope,) = torch.autograd.grad(mel.mel_clips(sound).sum(), sound)
    assert slope.isfinite().all() and (slope[:, :35_000] != 0).float().mean() > 0.9


@pytest.mark.parametrize("sound", [torch.zeros(16_000), torch.zeros(1, 399), torch.ones(1, 800).int()])
def test_what_is_no_waveform_is_refused(sound: Tensor) -> None:
    with pytest.raises(InvalidInput, match="give floats .B, T. at 16000 Hz, T at least 400"):
        mel.mel_clips(sound)
