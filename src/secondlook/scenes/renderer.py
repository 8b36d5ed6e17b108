"""Turns a scene into pixels, the same pixels every time; and a shifted style of them."""

import math
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secondlook.errors import InvalidInput
from secondlook.scenes.shapes import Array, signed_distance
from secondlook.scenes.world import RADII, SIDE, Background, Light, Scene, SceneObject, Texture

_CLOUDS: Final = 8
_SPECKS: Final = 0.12


def wave(position: Array, period: float, softness: float) -> Array:
    """A square wave in [-1, 1] with ramps ``softness`` wide, so that no stripe is jagged."""
    triangle = np.abs((position / period) % 1.0 - 0.5) - 0.25
    return np.clip(triangle * (2 * period / softness), -1.0, 1.0)


def cover(texture: Texture, x: Array, y: Array, radius: float) -> Array | None:
    """The tone of an object's texture, in the object's own turned coordinates.

    Args:
        texture: What covers the object.
        x: Coordinates across, in units of the world.
        y: Coordinates down, of the form of ``x``.
        radius: Radius of the object; larger objects have wider stripes.

    Returns:
        Tones of the form of ``x``, or nothing for a solid object.
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


_NOISE: Final = 0.004
HAZE: Final = 0.5
HAZE_TONE: Final = (0.53, 0.52, 0.50)
"""Scenes are seen through haze: with fewer grey levels between objects, a budget of 8/255 is to
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
    for obj in scene.objects:
        _paint(canvas, obj, axis)
    canvas *= _lit(scene.light, x, y)[..., None]
    canvas += HAZE * (np.array(HAZE_TONE) - canvas)
    canvas += _NOISE * rng.standard_normal(canvas.shape)
    return (np.clip(canvas, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def coverage(obj: SceneObject, x: Array, y: Array, pixel: float = 1.0) -> Array:
    """The share of each pixel that an object covers.

    Args:
        obj: The object.
        x: Pixel centers across, ``[1, W]``, units of the world.
        y: Pixel centers down, ``[H, 1]``.
        pixel: Width of a pixel in units of the world.

    Returns:
        Shares in [0, 1], ``[H, W]``.
    """
    across, down = _turned(obj, x, y)
    return _soft(_edge(obj, across, down), pixel)


def _turned(obj: SceneObject, x: Array, y: Array) -> tuple[Array, Array]:
    cos, sin = math.cos(obj.angle), math.sin(obj.angle)
    right, down = x - obj.cx, y - obj.cy
    return cos * right + sin * down, cos * down - sin * right


def _edge(obj: SceneObject, across: Array, down: Array) -> Array:
    unit = 1.0 / obj.radius
    return signed_distance(obj.shape, across * unit, down * unit) * obj.radius


def _soft(distance: Array, width: float) -> Array:
    return np.clip(0.5 - distance / width, 0.0, 1.0)


def _window(center: float, reach: float, axis: Array) -> slice:
    low, high = np.searchsorted(axis, [center - reach, center + reach])
    return slice(int(low), int(high))


def _paint(canvas: Array, obj: SceneObject, axis: Array) -> None:
    reach = 1.12 * obj.radius + _MARGIN
    rows, columns = _window(obj.cy, reach, axis), _window(obj.cx, reach, axis)
    x, y = axis[None, columns], axis[rows, None]
    pixel = SIDE / len(axis)
    across, down = _turned(obj, x, y)
    distance = _edge(obj, across, down)
    patch = canvas[rows, columns]
    step = round(_SHADOW_STEP / pixel)
    shade = _SHADOW * _soft(distance[: len(y) - step, : x.size - step], 3.0)
    patch[step:, step:] *= 1.0 - shade[..., None]
    tone = _tone(obj, across, down, distance, x, y)
    alpha = _soft(distance, pixel)[..., None]
    patch += alpha * (tone[..., None] * np.array(obj.rgb) - patch)


def _tone(obj: SceneObject, across: Array, down: Array, distance: Array, x: Array, y: Array) -> Array:
    """Brightness over an object: lit from the upper left, darker at the rim, then its texture."""
    gloss = (obj.cx - x + obj.cy - y) * (_GLOSS / obj.radius)
    tone = 1.0 + gloss - _RIM * np.clip(1.0 - np.abs(distance + 0.7), 0.0, 1.0)
    texture = cover(obj.texture, across, down, obj.radius)
    if texture is None:
        return tone
    depth = _DEPTH * min(1.0, obj.radius / RADII["medium"].low)
    return tone * (1.0 - depth * (0.5 - 0.5 * texture))


def _lit(light: Light, x: Array, y: Array) -> Array:
    along = math.cos(light.angle) * (x - SIDE / 2) + math.sin(light.angle) * (y - SIDE / 2)
    return light.level * (1.0 + light.slope * along / (SIDE / 2))


_WARMEST: Final = 0.10
_VIGNETTE: Final = 0.25
_GRAIN: Final = 0.03
_CONTRAST: Final = 1.25
_SOFT: Final = np.array([0.25, 0.5, 0.25])


def camera_style(picture: NDArray[np.uint8], key: int) -> NDArray[np.uint8]:
    """A scene as an old camera takes it: soft, contrasty, of a color cast, dark at the corners.

    Args:
        picture: ``[S, S, 3]``, RGB in 0 to 255.
        key: The scene's own; it chooses cast and grain.

    Returns:
        The picture in the shifted style, of the same form.
    """
    rng = np.random.default_rng([key, 1])
    canvas = _blurred(picture / 255.0)
    cast = 1 + _WARMEST * np.array([1.0, rng.uniform(-0.5, 0.5), -1.0]) * rng.choice([-1.0, 1.0])
    canvas = 0.5 + _CONTRAST * (canvas - 0.5)
    canvas *= cast * _vignette(len(canvas))
    canvas += _GRAIN * rng.standard_normal(canvas.shape[:2])[..., None]
    return (np.clip(canvas, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def _blurred(canvas: Array) -> Array:
    """Each axis softened by a binomial of three pixels; edges repeat."""
    for axis in (0, 1):
        widths = [(1, 1) if each == axis else (0, 0) for each in range(3)]
        padded = np.pad(canvas, widths, mode="edge")
        windows = [np.take(padded, np.arange(i, i + canvas.shape[axis]), axis) for i in range(3)]
        canvas = sum(weight * window for weight, window in zip(_SOFT, windows, strict=True))
    return canvas


def _vignette(size: int) -> Array:
    """Brightness ``[S, S, 1]``, one in the middle and less by ``_VIGNETTE`` in the corners."""
    axis = (np.arange(size) + 0.5) / size * 2 - 1
    return (1 - _VIGNETTE * (axis[:, None] ** 2 + axis[None, :] ** 2) / 2)[..., None]
