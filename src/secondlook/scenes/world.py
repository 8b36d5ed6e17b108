"""The words of the embedded world and the two things that they build: a thing and a scene."""

from dataclasses import dataclass
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from secondlook.scenes.shapes import SHAPES, Shape, outline

SIDE: Final = 64
"""Width and height of the world; every position and radius is in these units."""

Colour = Literal["red", "yellow", "green", "cyan", "blue", "purple", "pink", "white"]
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
    """A colour, each channel in [0, 1]."""

    red: float
    green: float
    blue: float


class Span(NamedTuple):
    """An interval of lengths, in units of the world."""

    low: float
    high: float


COLOURS: Final[tuple[Colour, ...]] = get_args(Colour)
SIZES: Final[tuple[Size, ...]] = get_args(Size)
TEXTURES: Final[tuple[Texture, ...]] = get_args(Texture)
PLACES: Final[tuple[Place, ...]] = get_args(Place)
GROUNDS: Final[tuple[Ground, ...]] = get_args(Ground)
PATTERNS: Final[tuple[Pattern, ...]] = get_args(Pattern)

COLOUR_RGB: Final = MappingProxyType[Colour, RGB]({
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
class Thing:
    """One object: its words, and the numbers that draw it.

    Attributes:
        colour: Named colour.
        shape: Named shape.
        size: Named size, an interval of ``radius`` (``RADII``).
        texture: What covers it.
        place: The ninth of the picture that holds its centre.
        cx: Centre, rightward from the left edge, units of the world.
        cy: Centre, downward from the top edge.
        radius: Radius of the circle about the shape.
        angle: Rotation in radians, clockwise on the screen.
        rgb: The named colour with its jitter.
    """

    colour: Colour
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
        """The smallest upright rectangle about the thing, cut at the edges of the picture."""
        points = _outline(self.shape)
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        x = self.cx + self.radius * (cos * points[:, 0] - sin * points[:, 1])
        y = self.cy + self.radius * (sin * points[:, 0] + cos * points[:, 1])
        edges = np.clip([x.min(), y.min(), x.max(), y.max()], 0.0, float(SIDE))
        return Box(*edges.tolist())


@dataclass(frozen=True, kw_only=True)
class Background:
    """What lies behind the things; ``angle`` in radians, ``period`` in units of the world."""

    colour: Ground
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
    """One to three things before a background; ``things`` are in the order in which to paint.

    Attributes:
        things: The objects.
        background: What is behind them.
        light: The light on all of it.
        key: The number from which pixel noise and the choice of words are drawn.
    """

    things: tuple[Thing, ...]
    background: Background
    light: Light
    key: int

    @cached_property
    def main(self) -> Thing:
        """The largest thing."""
        return max(self.things, key=lambda thing: thing.radius)

    @property
    def others(self) -> tuple[Thing, ...]:
        """All things but the largest."""
        return tuple(thing for thing in self.things if thing is not self.main)

    @property
    def label(self) -> int:
        """Class of the main thing in [0, 64): colour index times eight plus shape index."""
        return COLOURS.index(self.main.colour) * len(SHAPES) + SHAPES.index(self.main.shape)

    @property
    def boxes(self) -> tuple[Box, ...]:
        """One box for each thing, in the order of ``things``."""
        return tuple(thing.box for thing in self.things)


def relation(thing: Thing, anchor: Thing) -> Relation:
    """Where ``thing`` lies as seen from ``anchor``, along the axis on which they are further apart.

    Args:
        thing: The thing spoken of.
        anchor: The thing it is compared with.

    Returns:
        The relation that completes "thing is ... anchor".
    """
    right, down = thing.cx - anchor.cx, thing.cy - anchor.cy
    if abs(right) >= abs(down):
        return "right of" if right > 0 else "left of"
    return "below" if down > 0 else "above"
