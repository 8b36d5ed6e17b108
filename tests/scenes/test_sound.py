"""The sounds of scenes: deterministic, in range, telling of their scene; the models that hear them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from secondlook import data
from secondlook.errors import InvalidInput, UnknownName
from secondlook.models import load
from secondlook.models.base import Embedder, Purifier
from secondlook.randomness import Keys
from secondlook.scenes.captions import PROMPT, class_names
from secondlook.scenes.models.sound import SPECTROGRAM, imposed
from secondlook.scenes.sampling import sample
from secondlook.scenes.sound import LENGTH, RATE, render_sounds, sound
from secondlook.scenes.training.sounds import changed, recipes, render_set
from secondlook.signals import SOUND, decibels


def test_a_sound_is_the_same_whoever_is_beside_it() -> None:
    assert np.array_equal(render_sounds(0, "test", [3, 1])[1], render_sounds(0, "test", [1])[0])
    assert not np.array_equal(*render_sounds(0, "test", [1, 2]))


def test_sounds_stay_well_inside_of_16_bits() -> None:
    waves = render_sounds(0, "test", range(40)).astype(int)
    assert waves.shape == (40, LENGTH) and 300 < np.abs(waves).max() < 32_000
    assert np.sqrt((waves.astype(float) ** 2).mean(1)).min() > 50


def test_a_color_is_a_pitch() -> None:
    """Another color of the same scene: its strongest frequency moves by the ratio of the pitches."""
    scene = sample(0, "test", 0)
    only = replace(scene.main, shape="circle", texture="solid", color="red")
    peaks = []
    for color in ("red", "cyan"):
        wave = sound(replace(scene, objects=(replace(only, color=color),))).astype(float)  # type: ignore[arg-type]
        peaks.append(np.abs(np.fft.rfft(wave)).argmax() * RATE / LENGTH)
    assert peaks[1] / peaks[0] == pytest.approx(2 ** (9 / 12), rel=0.01)


def test_what_is_above_what_and_the_light_are_not_heard() -> None:
    scene = sample(0, "test", 0)
    other = replace(
        scene,
        objects=tuple(replace(each, cy=each.cy + 1, angle=0.3) for each in scene.objects),
        light=replace(scene.light, level=0.5),
    )
    assert np.array_equal(sound(scene), sound(other))


def test_the_source_reads_sounds_on_their_steps_with_the_truth_of_the_scene() -> None:
    source = data.load("scene-sounds:test", n=8)
    found = source.read([5, 2], (1, LENGTH))
    assert found.images.shape == (2, 1, 1, LENGTH)
    assert torch.equal(SOUND.stored(found.images)[0, 0, 0], torch.from_numpy(render_sounds(0, "test", [5])[0]))
    assert found.truth.tolist() == [sample(0, "test", row).label for row in (5, 2)]
    with pytest.raises(InvalidInput, match="8192 samples"):
        source.read([0], (64, 64))
    with pytest.raises(UnknownName):
        data.load("scene-sounds:nowhere")


def test_texts_find_sounds_that_no_text_was_learned_with() -> None:
    model = load("scenes:bind")
    assert isinstance(model, Embedder)
    found = data.load("scene-sounds:val", n=60).read(range(60), None)
    texts = model.embed_text([PROMPT.format(name) for name in class_names()])
    right = ((model.embed(found.images) @ texts.T).argmax(1) == found.truth).float().mean()
    assert float(right) > 0.85
    with pytest.raises(InvalidInput, match="hears 8192 samples"):
        model.embed(found.images[..., :4096])


def test_the_purifier_keeps_a_sound_and_takes_a_faint_other_one_out() -> None:
    purifier = load("scenes:sound-vae")
    assert isinstance(purifier, Purifier) and purifier.stochastic
    found = data.load("scene-sounds:val", n=12).read(range(12), None).images
    clean, keys = SOUND.natural(found), Keys.of(0, range(12))
    made = purifier.purify(found, keys)
    assert made.shape == found.shape
    assert not torch.equal(made, purifier.purify(found, keys.fold("again")))
    assert torch.allclose(made[3:4], purifier.purify(found[3:4], keys[3:4]), atol=1e-5)
    faint = changed(clean, clean.roll(1, 0), torch.Generator().manual_seed(1))
    off, back = (
        (SPECTROGRAM.log_mel(x) - SPECTROGRAM.log_mel(clean)).abs().mean()
        for x in (faint, SOUND.natural(purifier.purify(SOUND.carried(faint), keys)))
    )
    assert float(back) < 0.7 * float(off)


def test_a_gain_for_each_band_brings_the_spectrogram_there() -> None:
    wave = torch.from_numpy(render_sounds(0, "val", [0])).float() / 32768
    own = SPECTROGRAM.log_mel(wave)
    assert float(decibels(wave, imposed(wave, own))[0]) > 80
    louder = SPECTROGRAM.log_mel(imposed(wave, own + 1.0))
    assert float((louder - own - 1.0).abs().mean()) < 0.1


def test_what_a_purifier_learns_from_stays_within_its_bound() -> None:
    found = render_set(0, "val", 6, lambda *args: None, images=False)
    wave = found.sounds(torch.arange(6))
    made = changed(wave, wave.roll(1, 0), torch.Generator().manual_seed(0))
    assert 0 < float((made - wave).abs().max()) < 0.02
    assert set(recipes()) == {"bind", "sound-vae"}
