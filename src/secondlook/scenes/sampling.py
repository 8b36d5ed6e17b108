"""Draws the scene that belongs to a seed, a split and an index."""

import zlib
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple, TypeVar, get_args

import numpy as np

from secondlook.errors import InvalidInput, UnknownName
from secondlook.scenes.shapes import SHAPES, Shape
from secondlook.scenes.world import (
    COLOR_RGB,
    COLORS,
    GROUND_RGB,
    GROUNDS,
    PATTERNS,
    PLACES,
    RADII,
    RGB,
    TEXTURES,
    Background,
    Color,
    Ground,
    Light,
    Pattern,
    Place,
    Scene,
    SceneObject,
    Size,
    Span,
    Texture,
)

Share = Literal["train", "val", "test"]
"""A part of the plans; no two share one."""
SHARES: Final[tuple[Share, ...]] = get_args(Share)
Split = Literal["train", "val", "test", "calibration"]
SPLITS: Final[tuple[Split, ...]] = get_args(Split)

_TENTHS: Final = 10
_FIRST_HELD_OUT: Final = 8
_COUNTS: Final = (1, 2, 2, 2, 3, 3)
JITTER: Final = 1.8
"""How far an object may lie from the middle of its place, either way, in units of the world."""
_MAIN_GRID: Final = (19.0, 32.0, 45.0)
_SMALL_GRID: Final = (10.0, 32.0, 54.0)
TILT: Final = float(np.deg2rad(22.0))
"""How far an object but a crescent may be turned, either way, in radians."""
_CLEARANCE: Final = 6.0
COLOR_JITTER: Final = 0.05
GROUND_JITTER: Final = 0.02
PERIOD: Final = Span(7.0, 12.0)
LEVEL: Final = Span(0.82, 1.06)
SLOPE: Final = Span(0.0, 0.16)
_T = TypeVar("_T")


class Attributes(NamedTuple):
    """The attributes of one object; the discrete half of a ``SceneObject``."""

    color: Color
    shape: Shape
    size: Size
    texture: Texture
    place: Place


class Plan(NamedTuple):
    """The attributes of a scene, the main object first; they decide its split."""

    objects: tuple[Attributes, ...]
    ground: Ground
    pattern: Pattern


def share_of(plan: Plan) -> Share:
    """The one share to which a plan belongs: eight tenths train, one val, one test.

    The share is a checksum of a text, and the models that ship are trained on what it gives: the
    spelling of that text is part of the data, and stays as it is.
    """
    spelled = repr([tuple(plan.objects), *plan[1:]]).replace("Attributes(color=", "Words(colour=")
    tenth = zlib.crc32(spelled.encode()) % _TENTHS
    return SHARES[max(0, tenth - _FIRST_HELD_OUT + 1)]


def sample(seed: int, split: Split, index: int) -> Scene:
    """Draw one scene; the same three arguments always give the same scene.

    Plans are drawn until one falls in the split's share, so train, val and test never have one in
    common. Calibration draws from the share of test: its scenes are others, and exchangeable with
    those that are reported on, which is all that a conformal guarantee asks.

    Args:
        seed: Names the world, at least 0.
        split: Which part of the world.
        index: Which scene of the part, at least 0.

    Returns:
        The scene, with its label uniform over the 64 classes.

    Raises:
        UnknownName: There is no such split.
        InvalidInput: A number is negative.
    """
    if split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    if min(seed, index) < 0:
        raise InvalidInput(f"seed={seed}, index={index} must both be 0 or more; count from 0")
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    share = "test" if split == "calibration" else split
    return realize(rng, next(plan for plan in _plans(rng) if share_of(plan) == share))


def plan_of(scene: Scene) -> Plan:
    """The words of a scene, as they were before it was given positions and numbers."""
    objects = (scene.main, *scene.others)
    words = tuple(Attributes(t.color, t.shape, t.size, t.texture, t.place) for t in objects)
    return Plan(words, scene.background.color, scene.background.pattern)


def _pick(rng: np.random.Generator, options: Sequence[_T]) -> _T:
    return options[int(rng.integers(len(options)))]


def _plans(rng: np.random.Generator) -> Iterator[Plan]:
    while True:
        size: Size = _pick(rng, ("medium", "large"))
        words = [Attributes(_pick(rng, COLORS), _pick(rng, SHAPES), size, _pick(rng, TEXTURES), _pick(rng, PLACES))]
        for _ in range(_pick(rng, _COUNTS) - 1):
            words.append(_companion(rng, words))
        yield Plan(tuple(words), _pick(rng, GROUNDS), _pick(rng, PATTERNS))


def _companion(rng: np.random.Generator, words: Sequence[Attributes]) -> Attributes:
    main, *rest = words
    used = {word.color for word in words}
    taken = {word.place for word in rest}
    color = _pick(rng, [color for color in COLORS if color not in used])
    place = _pick(rng, [place for place in _FREE_PLACES[main.size, main.place] if place not in taken])
    return Attributes(color, _pick(rng, SHAPES), "small", _pick(rng, TEXTURES), place)


def nominal_center(size: Size, place: Place) -> tuple[float, float]:
    """Where the center of an object of this size and place lies, give or take its jitter."""
    row, column = divmod(PLACES.index(place), 3)
    grid = _SMALL_GRID if size == "small" else _MAIN_GRID
    return grid[column], grid[row]


def free_places(size: Size, place: Place) -> tuple[Place, ...]:
    """The places where a small object fits beside a main object of this size and place."""
    x, y = nominal_center(size, place)
    reach = RADII[size].high + _CLEARANCE
    return tuple(
        other
        for other in PLACES
        if np.hypot(nominal_center("small", other)[0] - x, nominal_center("small", other)[1] - y) >= reach
    )


_MAIN_SIZES: Final[tuple[Size, ...]] = ("medium", "large")
_FREE_PLACES: Final = {(size, place): free_places(size, place) for size in _MAIN_SIZES for place in PLACES}


def _jittered(rng: np.random.Generator, rgb: RGB, jitter: float) -> RGB:
    return RGB(*np.clip(np.array(rgb) + rng.uniform(-jitter, jitter, 3), 0.0, 1.0).tolist())


def realize(rng: np.random.Generator, plan: Plan) -> Scene:
    """A scene that fits a plan; what the plan leaves open is drawn."""
    background = Background(
        color=plan.ground,
        pattern=plan.pattern,
        rgb=_jittered(rng, GROUND_RGB[plan.ground], GROUND_JITTER),
        angle=rng.uniform(0.0, 2 * np.pi),
        period=rng.uniform(*PERIOD),
    )
    light = Light(level=rng.uniform(*LEVEL), slope=rng.uniform(*SLOPE), angle=rng.uniform(0.0, 2 * np.pi))
    objects = tuple(_object(rng, words) for words in plan.objects)
    return Scene(objects=objects, background=background, light=light, key=int(rng.integers(2**62)))


def _object(rng: np.random.Generator, words: Attributes) -> SceneObject:
    x, y = nominal_center(words.size, words.place)
    tilt = np.pi if words.shape == "crescent" else TILT
    return SceneObject(
        **words._asdict(),
        cx=x + rng.uniform(-JITTER, JITTER),
        cy=y + rng.uniform(-JITTER, JITTER),
        radius=rng.uniform(*RADII[words.size]),
        angle=rng.uniform(-tilt, tilt),
        rgb=_jittered(rng, COLOR_RGB[words.color], COLOR_JITTER),
    )
