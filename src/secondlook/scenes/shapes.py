"""The geometry of the eight shapes: signed distances to draw with and outlines to box with."""

import math
from collections.abc import Callable
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Shape = Literal["circle", "square", "triangle", "star", "cross", "ring", "heart", "crescent"]
SHAPES: Final[tuple[Shape, ...]] = get_args(Shape)

_DISC: Final = 0.92
_SQUARE: Final = 0.74
_ARM, _ARM_HALF_WIDTH = 0.96, 0.30
_RING_MIDDLE, _RING_HALF_WIDTH = 0.70, 0.23
_STAR_INNER: Final = 0.46
_LOBE, _HEART_LIFT = 0.52, 0.08
_MOON, _BITE, _BITE_X, _MOON_X = 0.98, 0.76, 0.46, 0.17


def _circle(x: Array, y: Array) -> Array:
    return np.hypot(x, y) - _DISC


def _square(x: Array, y: Array) -> Array:
    return np.maximum(np.abs(x), np.abs(y)) - _SQUARE


def _triangle(x: Array, y: Array) -> Array:
    slant = np.abs(x) * (math.sqrt(3) / 2) - y / 2
    return np.maximum(slant, y) - 0.5


def _star(x: Array, y: Array) -> Array:
    sector = 2 * np.pi / 5
    turn = np.abs((np.arctan2(x, -y) + sector / 2) % sector - sector / 2)
    radius = np.hypot(x, y)
    inner_x = _STAR_INNER * math.cos(sector / 2)
    inner_y = _STAR_INNER * math.sin(sector / 2)
    slope = math.atan2(1 - inner_x, inner_y)
    return radius * np.cos(turn - slope) - math.cos(slope)


def _cross(x: Array, y: Array) -> Array:
    across, down = np.abs(x), np.abs(y)
    lying = np.maximum(across - _ARM, down - _ARM_HALF_WIDTH)
    return np.minimum(lying, np.maximum(across - _ARM_HALF_WIDTH, down - _ARM))


def _ring(x: Array, y: Array) -> Array:
    return np.abs(np.hypot(x, y) - _RING_MIDDLE) - _RING_HALF_WIDTH


def _heart(x: Array, y: Array) -> Array:
    across, down = np.abs(x), y - _HEART_LIFT
    middle = _LOBE / math.sqrt(2)
    lobe = np.hypot(across - middle, down + middle) - _LOBE
    return np.minimum(lobe, (across + np.abs(down)) / math.sqrt(2) - _LOBE)


def _crescent(x: Array, y: Array) -> Array:
    across = x - _MOON_X
    return np.maximum(np.hypot(across, y) - _MOON, _BITE - np.hypot(across - _BITE_X, y))


_DISTANCES: Final[dict[Shape, Callable[[Array, Array], Array]]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "ring": _ring,
    "heart": _heart,
    "crescent": _crescent,
}


def signed_distance(shape: Shape, x: Array, y: Array) -> Array:
    """Distance to the edge of a shape of radius one, negative inside.

    Args:
        shape: One of the eight shapes.
        x: Rightward coordinates in units of the radius, any form.
        y: Downward coordinates, of the form of ``x``.

    Returns:
        Distances in units of the radius, of the form of ``x``.
    """
    return _DISTANCES[shape](x, y)


def _arc(radius: float, start: float = -np.pi, stop: float = np.pi, count: int = 65) -> Array:
    turn = np.linspace(start, stop, count)
    return radius * np.stack([np.cos(turn), np.sin(turn)], axis=1)


def outline(shape: Shape) -> Array:
    """Points whose smallest box is the shape's own, ``[K, 2]`` as (x, y) in units of the radius."""
    if shape == "square":
        return _SQUARE * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float64)
    if shape == "triangle":
        return np.array([[0, -1], [math.sqrt(3) / 2, 0.5], [-math.sqrt(3) / 2, 0.5]])
    if shape == "star":
        return _arc(1.0, -np.pi / 2, 1.1 * np.pi, 5)
    if shape == "cross":
        tips = np.array([[_ARM, _ARM_HALF_WIDTH], [_ARM_HALF_WIDTH, _ARM]])
        return np.concatenate([tips * sign for sign in ([1, 1], [1, -1], [-1, 1], [-1, -1])])
    if shape == "heart":
        middle = _LOBE / math.sqrt(2)
        lobes = [_arc(_LOBE) + [side * middle, _HEART_LIFT - middle] for side in (-1, 1)]
        return np.concatenate([*lobes, [[0.0, _HEART_LIFT + 2 * middle]]])
    if shape == "crescent":
        horn_x = (_BITE_X**2 + _MOON**2 - _BITE**2) / (2 * _BITE_X)
        horn = float(np.arccos(horn_x / _MOON))
        return _arc(_MOON, horn, 2 * np.pi - horn) + [_MOON_X, 0.0]
    return _arc(_DISC if shape == "circle" else _RING_MIDDLE + _RING_HALF_WIDTH)
