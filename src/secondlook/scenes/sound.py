"""Turns a scene into a second of sound, the same samples every time: what a scene sounds like.

The shape of an object is its timbre, its color the pitch; the place across is when it begins, its size how long
and how loud it is, its texture the envelope. The ground is the color of the noise. The sound says nothing of what is
above what, nor of patterns and light, so that a search from sound to image has something to lose.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve

from secondlook.scenes.sampling import Split, sample
from secondlook.scenes.shapes import Shape
from secondlook.scenes.world import COLORS, SIDE, Ground, Scene, SceneObject, Size, Texture

Samples = NDArray[np.float64]

RATE: Final = 8000
"""Samples in a second."""
LENGTH: Final = 8192
"""Samples of a sound: 1.024 s."""
STEPS: Final = 32_768
"""Steps of a 16-bit file between 0 and full scale."""
LOWEST: Final = 220.0
"""Pitch of the first color in Hz; each further one is three semitones above."""
FLOOR: Final = 0.0005
"""Root mean square of the noise, as a share of full scale."""
_HIGHEST: Final = 3600.0
_TWO_PI: Final = 2 * np.pi

_HARMONICS: Final = MappingProxyType[Shape, tuple[float, ...]]({
    "circle": (1.0,),
    "square": (1.0, 0.0, 0.6, 0.0, 0.45, 0.0, 0.35),
    "triangle": (1.0, 0.7, 0.5, 0.4, 0.33, 0.28, 0.25, 0.22),
    "star": (0.35, 1.0, 0.2, 0.7),
    "ring": (1.0, 0.35, 0.15),
    "heart": (1.0, 0.5, 0.3),
    "crescent": (0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5),
})  # fmt: skip
"""Amplitudes of the harmonics; a cross is a bell, which has none."""
_LOUDNESS: Final = MappingProxyType[Size, float]({"small": 0.0125, "medium": 0.03, "large": 0.04})
_SECONDS: Final = MappingProxyType[Size, float]({"small": 0.35, "medium": 0.55, "large": 0.68})
_SLOPES: Final = MappingProxyType[Ground, float](
    {"grey": 0.0, "beige": 0.5, "brown": 1.0, "navy": 1.5, "olive": -0.5, "charcoal": 2.0}
)
"""How fast the noise falls with frequency: its amplitude goes with 1 / f to half of this."""


def sound(scene: Scene) -> NDArray[np.int16]:
    """The sound of a scene, ``[8192]`` 16-bit samples at 8 kHz.

    Example:
        ``sound(sample(0, "test", 3))``
    """
    rng = np.random.Generator(np.random.Philox(key=[scene.key, 1]))
    dry = np.sum([_voice(each, rng) for each in scene.objects], axis=0)
    wet = fftconvolve(dry, _echo(rng))[:LENGTH]
    made = wet + FLOOR * _noise(scene.background.color, rng)
    steps: NDArray[np.int16] = np.clip(np.rint(made * STEPS), -STEPS, STEPS - 1).astype(np.int16)
    return steps


def render_sounds(seed: int, split: Split, indices: Iterable[int]) -> NDArray[np.int16]:
    """The sounds of the scenes at ``indices`` of a split, ``[n, 8192]``.

    Raises:
        SecondlookError: as :func:`~secondlook.scenes.sampling.sample` raises it.
    """
    made = [sound(sample(seed, split, int(index))) for index in indices]
    return np.array(made, dtype=np.int16).reshape(-1, LENGTH)


def _voice(thing: SceneObject, rng: np.random.Generator) -> Samples:
    """One object, alone and without an echo."""
    cents = rng.uniform(-15, 15)
    pitch = LOWEST * 2.0 ** ((3 * COLORS.index(thing.color) + cents / 100) / 12)
    start = round(0.28 * RATE * min(max(thing.cx / SIDE, 0.0), 1.0))
    seconds = np.arange(min(round(_SECONDS[thing.size] * RATE), LENGTH - start)) / RATE
    tone = _tone(thing.shape, pitch, seconds, rng.uniform(0, _TWO_PI, 10))
    shaped = tone / np.sqrt(np.mean(tone**2)) * _envelope(thing.texture, seconds)
    out = np.zeros(LENGTH)
    out[start : start + len(seconds)] = _LOUDNESS[thing.size] * shaped
    return out


def _tone(shape: Shape, pitch: float, seconds: Samples, phases: Samples) -> Samples:
    """The timbre of a shape."""
    turn = _TWO_PI * pitch * seconds
    if shape == "cross":  # frequency modulation at a ratio that is no whole number: a bell
        bell: Samples = np.sin(turn + 2.2 * np.sin(1.41 * turn + phases[0]) * np.exp(-2 * seconds))
        return bell
    if shape == "heart":  # a vibrato of half a semitone, six times in a second
        turn = turn + 0.03 * pitch / 6 * np.sin(_TWO_PI * 6 * seconds + phases[1])
    heard = [
        amplitude * np.sin(number * turn + phases[number - 1])
        for number, amplitude in enumerate(_HARMONICS[shape], start=1)
        if amplitude and number * pitch < _HIGHEST
    ]
    tone: Samples = np.sum(heard, axis=0)
    if shape == "ring":  # roughness: 23 times in a second
        tone = tone * (1 + 0.9 * np.sin(_TWO_PI * 23 * seconds + phases[2]))
    return tone


def _envelope(texture: Texture, seconds: Samples) -> Samples:
    """Attack and release of 15 ms, and what a texture makes of the time between."""
    shape: Samples = np.exp(-0.8 * seconds)
    if texture == "striped":
        shape = 1 + 0.7 * np.sin(_TWO_PI * 9 * seconds)
    elif texture == "dotted":
        shape = np.exp(-12 * (seconds % 0.11)) * 1.6
    elif texture == "checkered":
        shape = np.where(seconds % 0.24 < 0.12, 1.15, 0.45)
    shape *= np.clip(np.minimum(seconds, seconds[-1] - seconds) / 0.015, 0.0, 1.0)
    return shape


def _echo(rng: np.random.Generator) -> Samples:
    """The answer of a small room to a click: the click, and 40 ms of noise that dies away."""
    late = rng.standard_normal(320) * np.exp(-np.arange(320) / 90)
    return np.concatenate([[1.0], rng.uniform(0.1, 0.25) * late / np.sqrt(np.sum(late**2))])


def _noise(ground: Ground, rng: np.random.Generator) -> Samples:
    """Noise of the color of a ground, with a root mean square of 1."""
    spectrum = np.fft.rfft(rng.standard_normal(LENGTH))
    spectrum *= np.maximum(np.arange(len(spectrum)), 40.0) ** (-_SLOPES[ground] / 2)
    made: Samples = np.fft.irfft(spectrum, LENGTH)
    made /= np.sqrt(np.mean(made**2))
    return made
