"""What covers things and backgrounds: fields of tone in [-1, 1] that shade a colour."""

import math
from functools import lru_cache
from typing import Final

import numpy as np

from secondlook.scenes.shapes import Array
from secondlook.scenes.world import SIDE, Background, Texture

_CLOUDS: Final = 8
_SPECKS: Final = 0.12


def wave(position: Array, period: float, softness: float) -> Array:
    """A square wave in [-1, 1] with ramps ``softness`` wide, so that no stripe is jagged."""
    triangle = np.abs((position / period) % 1.0 - 0.5) - 0.25
    return np.clip(triangle * (2 * period / softness), -1.0, 1.0)


def cover(texture: Texture, x: Array, y: Array, radius: float) -> Array | None:
    """The tone of a thing's texture, in the thing's own turned coordinates.

    Args:
        texture: What covers the thing.
        x: Coordinates across, in units of the world.
        y: Coordinates down, of the form of ``x``.
        radius: Radius of the thing; larger things have wider stripes.

    Returns:
        Tones of the form of ``x``, or nothing for a solid thing.
    """
    period = 2.6 + 0.34 * radius
    if texture == "striped":
        return wave(x + y, period * math.sqrt(2), 1.4)
    if texture == "checkered":
        return wave(x + period / 4, period * 1.5, 1.0) * wave(y + period / 4, period * 1.5, 1.0)
    if texture == "dotted":
        across, down = x % period - period / 2, y % period - period / 2
        return np.clip((np.hypot(across, down) - 0.31 * period) * 2.0, -1.0, 1.0)
    return None


def field(ground: Background, x: Array, y: Array, rng: np.random.Generator) -> Array | None:
    """The tone of a background over the picture, or nothing for a plain one.

    Args:
        ground: The background.
        x: Coordinates across ``[1, S]``, in units of the world.
        y: Coordinates down ``[S, 1]``.
        rng: The scene's own source of randomness, for clouds and specks.

    Returns:
        Tones ``[S, S]``.
    """
    cos, sin = math.cos(ground.angle), math.sin(ground.angle)
    along, aside = cos * x + sin * y, cos * y - sin * x
    if ground.pattern == "gradient":
        return (along - (cos + sin) * SIDE / 2) * (2.0 / SIDE)
    if ground.pattern == "striped":
        return 0.8 * wave(along, ground.period, 1.6)
    if ground.pattern == "checkered":
        period = 1.6 * ground.period
        return 0.8 * wave(along, period, 1.6) * wave(aside, period, 1.6)
    if ground.pattern == "speckled":
        return _specks(rng, along.shape)
    if ground.pattern == "cloudy":
        weights = _spread(along.shape[0])
        return weights @ rng.uniform(-1.5, 1.5, (_CLOUDS, _CLOUDS)) @ weights.T
    return None


def _specks(rng: np.random.Generator, form: tuple[int, ...]) -> Array:
    draws = rng.random(form)
    return 1.5 * (draws < _SPECKS) - 1.5 * (draws > 1 - _SPECKS)


@lru_cache(maxsize=4)
def _spread(size: int) -> Array:
    """Smooth weights ``[size, 8]`` that stretch a coarse grid over the picture."""
    at = (np.arange(size)[:, None] + 0.5) / size * (_CLOUDS - 1)
    near = np.clip(1.0 - np.abs(at - np.arange(_CLOUDS)), 0.0, 1.0)
    return near * near * (3.0 - 2.0 * near)
