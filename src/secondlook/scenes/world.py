"""The words of the embedded world and the two objects that they build: an object and a scene."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from secondlook.scenes.shapes import SHAPES, Shape, outline

SIDE: Final = 64
"""Width and height of the world; every position and radius is in these units."""

Color = Literal["red", "yellow", "green", "cyan", "blue", "purple", "pink", "white"]
Size = Literal["small", "medium", "large"]
Texture = Literal["solid", "striped", "dotted", "checkered"]
Place = Literal[
    "top left", "top", "top right",
    "left", "centre", "right",
    "bottom left", "bottom", "bottom right",
]  # fmt: skip
Ground = Literal["grey", "beige", "brown", "navy", "olive", "charcoal"]
Pattern = Literal["plain", "gradient", "striped", "checkered", "speckled", "cloudy"]
Relation = Literal["left of", "right of", "above", "below"]


class RGB(NamedTuple):
    """A color, each channel in [0, 1]."""

    red: float
    green: float
    blue: float


class Span(NamedTuple):
    """An interval of lengths, in units of the world."""

    low: float
    high: float


COLORS: Final[tuple[Color, ...]] = get_args(Color)
SIZES: Final[tuple[Size, ...]] = get_args(Size)
TEXTURES: Final[tuple[Texture, ...]] = get_args(Texture)
PLACES: Final[tuple[Place, ...]] = get_args(Place)
GROUNDS: Final[tuple[Ground, ...]] = get_args(Ground)
PATTERNS: Final[tuple[Pattern, ...]] = get_args(Pattern)

COLOR_RGB: Final = MappingProxyType[Color, RGB]({
    "red": RGB(0.86, 0.16, 0.15),
    "yellow": RGB(0.95, 0.82, 0.16),
    "green": RGB(0.18, 0.66, 0.27),
    "cyan": RGB(0.20, 0.80, 0.84),
    "blue": RGB(0.16, 0.33, 0.88),
    "purple": RGB(0.55, 0.22, 0.76),
    "pink": RGB(0.96, 0.50, 0.72),
    "white": RGB(0.94, 0.94, 0.94),
})  # fmt: skip
GROUND_RGB: Final = MappingProxyType[Ground, RGB]({
    "grey": RGB(0.50, 0.51, 0.52),
    "beige": RGB(0.74, 0.67, 0.53),
    "brown": RGB(0.43, 0.31, 0.22),
    "navy": RGB(0.13, 0.17, 0.34),
    "olive": RGB(0.40, 0.42, 0.22),
    "charcoal": RGB(0.17, 0.17, 0.18),
})  # fmt: skip
RADII: Final = MappingProxyType[Size, Span]({
    "small": Span(5.8, 7.6),
    "medium": Span(11.0, 13.0),
    "large": Span(14.5, 16.5),
})  # fmt: skip


class Box(NamedTuple):
    """A rectangle in units of the world: left, top, right, bottom."""

    left: float
    top: float
    right: float
    bottom: float


@lru_cache(maxsize=len(SHAPES))
def _outline(shape: Shape) -> NDArray[np.float64]:
    return outline(shape)


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One object: its words, and the numbers that draw it.

    Attributes:
        color: Named color.
        shape: Named shape.
        size: Named size, an interval of ``radius`` (``RADII``).
        texture: What covers it.
        place: The ninth of the picture that holds its center.
        cx: Centre, rightward from the left edge, units of the world.
        cy: Centre, downward from the top edge.
        radius: Radius of the circle about the shape.
        angle: Rotation in radians, clockwise on the screen.
        rgb: The named color with its jitter.
    """

    color: Color
    shape: Shape
    size: Size
    texture: Texture
    place: Place
    cx: float
    cy: float
    radius: float
    angle: float
    rgb: RGB

    @property
    def box(self) -> Box:
        """The smallest upright rectangle about the object, cut at the edges of the picture."""
        points = _outline(self.shape)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x = self.cx + self.radius * (cos * points[:, 0] - sin * points[:, 1])
        y = self.cy + self.radius * (sin * points[:, 0] + cos * points[:, 1])
        edges = np.clip([x.min(), y.min(), x.max(), y.max()], 0.0, float(SIDE))
        return Box(*edges.tolist())


@dataclass(frozen=True, kw_only=True)
class Background:
    """What lies behind the objects; ``angle`` in radians, ``period`` in units of the world."""

    color: Ground
    pattern: Pattern
    rgb: RGB
    angle: float
    period: float


@dataclass(frozen=True, kw_only=True)
class Light:
    """A light over the whole scene: its mean ``level`` and a ``slope`` towards ``angle``."""

    level: float
    slope: float
    angle: float


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One to three objects before a background; ``objects`` are in the order in which to paint.

    Attributes:
        objects: The objects.
        background: What is behind them.
        light: The light on all of it.
        key: The number from which pixel noise and the choice of words are drawn.
    """

    objects: tuple[SceneObject, ...]
    background: Background
    light: Light
    key: int

    @cached_property
    def main(self) -> SceneObject:
        """The largest object."""
        return max(self.objects, key=lambda obj: obj.radius)

    @property
    def others(self) -> tuple[SceneObject, ...]:
        """All objects but the largest."""
        return tuple(obj for obj in self.objects if obj is not self.main)

    @property
    def label(self) -> int:
        """Class of the main object in [0, 64): color index times eight plus shape index."""
        return COLORS.index(self.main.color) * len(SHAPES) + SHAPES.index(self.main.shape)

    @property
    def boxes(self) -> tuple[Box, ...]:
        """One box for each object, in the order of ``objects``."""
        return tuple(obj.box for obj in self.objects)


def relation(obj: SceneObject, anchor: SceneObject) -> Relation:
    """The relation of an object to ``anchor``, along the axis on which they are further apart.

    Args:
        obj: The object that is described.
        anchor: The object it is compared with.

    Returns:
        The relation that completes "object is ... anchor".
    """
    right, down = obj.cx - anchor.cx, obj.cy - anchor.cy
    if abs(right) >= abs(down):
        return "right of" if right > 0 else "left of"
    return "below" if down > 0 else "above"
