"""Turns a site into pixels, the same pixels every time."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secondlook.errors import InvalidInput
from secondlook.scenes.overhead import built, water
from secondlook.scenes.overhead.canvas import Canvas
from secondlook.scenes.overhead.world import DEGREES, GROUND_RGB, MANNERS, Kind, Plan, Site
from secondlook.scenes.world import RGB, SIDE

NUMBERS: Final = {"one": 1, "two": 2, "three": 3, "many": 5}
"""How many of a thing stand for each count."""
HAZE: Final = {"clear": 0.30, "hazy": 0.55}
"""How much of the contrast the air takes; as in the scenes of things, some is always gone."""
HAZE_TONE: Final = RGB(0.62, 0.64, 0.66)
SNOW: Final = RGB(0.82, 0.84, 0.87)
_TREES: Final = {"summer": RGB(0.15, 0.33, 0.15), "winter": RGB(0.34, 0.29, 0.26)}
_NOISE: Final = 0.012
_MOTTLE: Final = 0.05
_TILT: Final = 8.0
_EDGE: Final = 25.0

Draw = Callable[[Canvas, RGB, int, RGB], None]


def render(site: Site, size: int = SIDE) -> NDArray[np.uint8]:
    """Draws a site from above.

    Distances are computed in double precision, so that rounding to 8 bits hides what differs
    between processors.

    Args:
        site: what to draw.
        size: width and height of the picture in pixels.

    Returns:
        The picture, ``[size, size, 3]``, RGB in 0 to 255.

    Raises:
        InvalidInput: the size is below one pixel.
    """
    if size < 1:
        raise InvalidInput(f"size={size} is below one pixel; write 64, or another whole number")
    plan, rng = site.plan, np.random.default_rng([site.key, 0])
    angle = math.radians(DEGREES[plan.heading] + rng.uniform(-_TILT, _TILT))
    angle += math.pi * int(rng.integers(2))
    canvas = Canvas(size, RGB(0, 0, 0), angle, rng)
    land = canvas.jittered(_land(plan))
    canvas.rgb[:] = land
    canvas.rgb *= 1 + canvas.tiles(4.0, 4.0).draws(-_MOTTLE, _MOTTLE)[..., None]
    _beside(canvas, plan)
    tint = canvas.jittered(MANNERS[plan.kind].tints[plan.tint])
    DRAWN[plan.kind](canvas, tint, NUMBERS[plan.number], land)
    haze = HAZE[plan.air] + rng.uniform(-0.04, 0.04)
    seen = canvas.rgb + haze * (np.asarray(HAZE_TONE) - canvas.rgb)
    seen *= rng.uniform(0.9, 1.05)
    seen += _NOISE * rng.standard_normal(seen.shape)
    return (np.clip(seen, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def farmland(canvas: Canvas, tint: RGB, count: int, land: RGB) -> None:
    """Fields side by side, one crop or another, in furrows."""
    furrows = 0.5 + 0.5 * np.sin(2 * math.pi / 3.2 * canvas.v)
    half = 27.0 / count
    edges = canvas.boxes([(0.0, 0.0)], 28.0, 15.0)
    canvas.lay(edges, water.FOAM, 0.55)
    for row, u in enumerate(canvas.spread(count, 27.0, 0.0)):
        field = canvas.boxes([(u, 0.0)], half - 0.8, 14.0)
        canvas.lay(field, canvas.jittered(tint, 0.08) if row % 2 == 0 else _green(canvas))
        canvas.lay(field * furrows, water.DARK, 0.22)


def forest(canvas: Canvas, tint: RGB, count: int, land: RGB) -> None:
    """Crowns beside crowns, and clearings of bare land between them."""
    canvas.lay(np.ones_like(canvas.u), tint, 0.8)
    for period in (4.6, 6.1):
        _crowns(canvas, period, tint, 1.0)
    clearings = [(u, canvas.rng.uniform(-11, 11)) for u in canvas.spread(count, 25)]
    canvas.lay(canvas.discs(clearings, 5.0), land)


def _green(canvas: Canvas) -> RGB:
    return canvas.jittered(RGB(0.34, 0.55, 0.26), 0.06)


def _land(plan: Plan) -> RGB:
    """The colour of bare land; half of it is under snow in winter."""
    bare = np.asarray(GROUND_RGB[plan.ground])
    white = 0.55 if plan.season == "winter" else 0.0
    return RGB(*(bare + white * (np.asarray(SNOW) - bare)).tolist())


def _crowns(canvas: Canvas, period: float, rgb: RGB, where: float | NDArray[np.float64]) -> None:
    tiles = canvas.tiles(period, period, period / 5)
    off = np.hypot(tiles.u, tiles.v)
    shade = tiles.draws(0.7, 1.25) + 0.12 * (tiles.u + tiles.v) / period
    canvas.lay(where * canvas.soft(0.46 * period - off), shade[..., None] * np.asarray(rgb))


def _beside(canvas: Canvas, plan: Plan) -> None:
    """What lies along one edge of the site."""
    along = canvas.soft(canvas.v - (_EDGE - 5.5))
    if plan.beside == "trees":
        _crowns(canvas, 5.2, _TREES[plan.season], along)
    elif plan.beside == "road":
        canvas.lay(canvas.strip(_EDGE, 3.0), built.STREET)
        canvas.lay(canvas.strip(_EDGE, 0.4), water.FOAM)
    elif plan.beside == "buildings":
        tiles = canvas.tiles(9.0, 200.0)
        half = tiles.draws(2.4, 3.8)
        box = np.minimum(half - np.abs(tiles.u), 3.6 - np.abs(canvas.v - _EDGE))
        canvas.lay(canvas.soft(box), tiles.colours((water.DECK, water.FOAM, built.TRACK)))


DRAWN: Final[dict[Kind, Draw]] = {
    "airport": built.airport,
    "beach": water.beach,
    "bridge": water.bridge,
    "farmland": farmland,
    "forest": forest,
    "harbour": water.harbour,
    "parking lot": built.parking,
    "railway station": built.station,
    "residential area": built.residential,
    "river": water.river,
    "stadium": built.stadium,
    "storage tanks": built.tanks,
}
"""Who draws each kind: canvas, tint, how many, and the colour of the land."""
