"""Turns a scene into pixels, the same pixels every time."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secondlook.errors import InvalidInput
from secondlook.scenes.shapes import Array, signed_distance
from secondlook.scenes.textures import cover, field
from secondlook.scenes.world import RADII, SIDE, Light, Scene, Thing

_NOISE: Final = 0.004
HAZE: Final = 0.5
HAZE_TONE: Final = (0.53, 0.52, 0.50)
"""Scenes are seen through haze: with fewer grey levels between things, a budget of 8/255 is to
their embedders what it is to those of photographs. Without it only 16/255 would be."""
_GROUND_CONTRAST: Final = 0.22
_DEPTH: Final = 0.46
_RIM: Final = 0.30
_GLOSS: Final = 0.10
_SHADOW: Final = 0.30
_SHADOW_STEP: Final = 2.0
_MARGIN: Final = 3.0


def render(scene: Scene, size: int = SIDE) -> NDArray[np.uint8]:
    """Draw a scene with soft edges, light and a little pixel noise.

    Distances are computed in double precision, so that rounding to 8 bits hides what differs
    between processors.

    Args:
        scene: What to draw.
        size: Width and height of the picture in pixels.

    Returns:
        The picture, ``[size, size, 3]``, RGB in 0 to 255.

    Raises:
        InvalidInput: The size is below one pixel.
    """
    if size < 1:
        raise InvalidInput(f"size={size} is below one pixel; write 64, or another whole number")
    rng = np.random.default_rng([scene.key, 0])
    axis = (np.arange(size, dtype=np.float64) + 0.5) * (SIDE / size)
    x, y = axis[None, :], axis[:, None]
    canvas = np.empty((size, size, 3))
    canvas[:] = scene.background.rgb
    tone = field(scene.background, x, y, rng)
    if tone is not None:
        canvas *= 1.0 + _GROUND_CONTRAST * tone[..., None]
    for thing in scene.things:
        _paint(canvas, thing, axis)
    canvas *= _lit(scene.light, x, y)[..., None]
    canvas += HAZE * (np.array(HAZE_TONE) - canvas)
    canvas += _NOISE * rng.standard_normal(canvas.shape)
    return (np.clip(canvas, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def coverage(thing: Thing, x: Array, y: Array, pixel: float = 1.0) -> Array:
    """The share of each pixel that a thing covers.

    Args:
        thing: The thing.
        x: Pixel centres across, ``[1, W]``, units of the world.
        y: Pixel centres down, ``[H, 1]``.
        pixel: Width of a pixel in units of the world.

    Returns:
        Shares in [0, 1], ``[H, W]``.
    """
    across, down = _turned(thing, x, y)
    return _soft(_edge(thing, across, down), pixel)


def _turned(thing: Thing, x: Array, y: Array) -> tuple[Array, Array]:
    cos, sin = math.cos(thing.angle), math.sin(thing.angle)
    right, down = x - thing.cx, y - thing.cy
    return cos * right + sin * down, cos * down - sin * right


def _edge(thing: Thing, across: Array, down: Array) -> Array:
    unit = 1.0 / thing.radius
    return signed_distance(thing.shape, across * unit, down * unit) * thing.radius


def _soft(distance: Array, width: float) -> Array:
    return np.clip(0.5 - distance / width, 0.0, 1.0)


def _window(centre: float, reach: float, axis: Array) -> slice:
    low, high = np.searchsorted(axis, [centre - reach, centre + reach])
    return slice(int(low), int(high))


def _paint(canvas: Array, thing: Thing, axis: Array) -> None:
    reach = 1.12 * thing.radius + _MARGIN
    rows, columns = _window(thing.cy, reach, axis), _window(thing.cx, reach, axis)
    x, y = axis[None, columns], axis[rows, None]
    pixel = SIDE / len(axis)
    across, down = _turned(thing, x, y)
    distance = _edge(thing, across, down)
    patch = canvas[rows, columns]
    step = round(_SHADOW_STEP / pixel)
    shade = _SHADOW * _soft(distance[: len(y) - step, : x.size - step], 3.0)
    patch[step:, step:] *= 1.0 - shade[..., None]
    tone = _tone(thing, across, down, distance, x, y)
    alpha = _soft(distance, pixel)[..., None]
    patch += alpha * (tone[..., None] * np.array(thing.rgb) - patch)


def _tone(thing: Thing, across: Array, down: Array, distance: Array, x: Array, y: Array) -> Array:
    """Brightness over a thing: lit from the upper left, darker at the rim, then its texture."""
    gloss = (thing.cx - x + thing.cy - y) * (_GLOSS / thing.radius)
    tone = 1.0 + gloss - _RIM * np.clip(1.0 - np.abs(distance + 0.7), 0.0, 1.0)
    texture = cover(thing.texture, across, down, thing.radius)
    if texture is None:
        return tone
    depth = _DEPTH * min(1.0, thing.radius / RADII["medium"].low)
    return tone * (1.0 - depth * (0.5 - 0.5 * texture))


def _lit(light: Light, x: Array, y: Array) -> Array:
    along = math.cos(light.angle) * (x - SIDE / 2) + math.sin(light.angle) * (y - SIDE / 2)
    return light.level * (1.0 + light.slope * along / (SIDE / 2))
