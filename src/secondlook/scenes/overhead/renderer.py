"""Turns a site into pixels, the same pixels every time: one function for each kind of site."""

import math
from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secondlook.errors import InvalidInput
from secondlook.scenes.overhead.canvas import Canvas, Place
from secondlook.scenes.overhead.world import DEGREES, GROUND_RGB, PHRASINGS, Kind, Plan, Site
from secondlook.scenes.world import RGB, SIDE

FOAM: Final = RGB(0.88, 0.90, 0.90)
SAND: Final = RGB(0.80, 0.72, 0.54)
HULL: Final = RGB(0.92, 0.92, 0.90)
DECK: Final = RGB(0.60, 0.60, 0.58)
DARK: Final = RGB(0.14, 0.14, 0.15)


def beach(canvas: Canvas, tint: RGB, count: int, land: RGB) -> None:
    """Sea, foam and sand, one below the other."""
    shore = canvas.v - canvas.wavy(2.0)
    canvas.lay(canvas.soft(12.0 - shore), canvas.jittered(SAND))
    canvas.lay(canvas.soft(1.5 - shore), FOAM)
    canvas.lay(canvas.soft(-0.5 - shore), tint)
    boats(canvas, [(u, canvas.rng.uniform(-17, -7)) for u in canvas.spread(count, 27)])


def bridge(canvas: Canvas, tint: RGB, count: int, land: RGB) -> None:
    """A deck from bank to bank, over water as wide as half the picture."""
    canvas.lay(canvas.strip(canvas.wavy(1.0), 15.0), tint)
    at = canvas.rng.uniform(-4, 4)
    canvas.lay(canvas.boxes([(at + 1.5, 1.5)], 4.0, 40.0), DARK, 0.5)
    canvas.lay(canvas.boxes([(at, 0.0)], 3.8, 40.0), DECK)
    canvas.lay(canvas.boxes([(at, 0.0)], 0.5, 40.0), FOAM)
    sides = [(1 if row % 2 else -1, row // 2) for row in range(count)]
    boats(canvas, [(at + side * (9.5 + 7 * place), canvas.rng.uniform(-10, 10)) for side, place in sides])


def harbour(canvas: Canvas, tint: RGB, count: int, land: RGB) -> None:
    """A basin with a quay and piers, and ships between them."""
    canvas.lay(canvas.soft(7.0 - canvas.v), tint)
    canvas.lay(canvas.boxes([(0.0, 8.0)], 40.0, 2.2), DECK)
    piers = canvas.spread(4, 26)
    canvas.lay(canvas.boxes([(u, 0.0) for u in piers], 0.9, 8.0), DECK)
    berths: list[Place] = [(u + side * 3.0, canvas.rng.uniform(-6, 3)) for side in (1, -1) for u in piers]
    ships = [berths[row] for row in canvas.rng.permutation(len(berths))[:count]]
    canvas.lay(canvas.boxes(ships, 1.3, 3.6), HULL)
    canvas.lay(canvas.boxes(ships, 0.5, 2.4), DECK)


def river(canvas: Canvas, tint: RGB, count: int, land: RGB) -> None:
    """A winding stream with pale banks, and islands in it."""
    middle = canvas.wavy(6.0)
    canvas.lay(canvas.strip(middle, 11.0), canvas.jittered(SAND))
    canvas.lay(canvas.strip(middle, 9.8), tint)
    reach = {1: 12.0, 2: 16.0, 3: 20.0}.get(count, 25.0)
    islands = canvas.spread(count, reach)
    across = canvas.v - middle
    for u in islands:
        off = canvas.rng.uniform(-3, 3)
        mask = canvas.soft(1.0 - ((canvas.u - u) / 3.6) ** 2 - ((across - off) / 2.4) ** 2)
        canvas.lay(mask, land)


def boats(canvas: Canvas, places: list[Place]) -> None:
    """Hulls with a wake behind each."""
    canvas.lay(canvas.boxes([(u - 3.6, v) for u, v in places], 1.8, 0.6), FOAM, 0.4)
    canvas.lay(canvas.boxes(places, 2.4, 1.2), HULL)


CARS: Final = (RGB(0.85, 0.85, 0.85), RGB(0.15, 0.15, 0.17), RGB(0.66, 0.16, 0.14), RGB(0.18, 0.28, 0.60))
TRACK: Final = RGB(0.62, 0.32, 0.22)
LAWN: Final = RGB(0.27, 0.52, 0.22)
STREET: Final = RGB(0.40, 0.40, 0.41)
_TANKS: Final[tuple[Place, ...]] = tuple((u, v) for v in (-5.0, 6.0) for u in (-20, -7, 7, 20))


def airport(canvas: Canvas, tint: RGB, count: int, land: RGB) -> None:
    """A runway with its middle line, a narrow taxiway, and planes on an apron beside it."""
    canvas.lay(canvas.strip(7.0, 6.0), STREET)
    canvas.lay(canvas.strip(-7.5, 4.6), tint)
    dashes = canvas.tiles(7.0, 200.0)
    canvas.lay(canvas.strip(-7.5, 0.5) * canvas.soft(2.0 - np.abs(dashes.u)), FOAM)
    canvas.lay(canvas.boxes([(canvas.rng.uniform(-20, 20), 0.0)], 1.4, 7.0), tint)
    for u in canvas.spread(count, 27):
        plane(canvas, (u, 7.0 + canvas.rng.uniform(-1, 1)))


def plane(canvas: Canvas, at: Place) -> None:
    """A fuselage, wings that are swept back, and a tail."""
    along, across = canvas.u - at[0], np.abs(canvas.v - at[1])
    body = np.minimum(4.4 - np.abs(along), 0.8 - across)
    wings = np.minimum(1.1 - np.abs(along + 0.5 * across - 1.0), 4.2 - across)
    tail = np.minimum(0.7 - np.abs(along + 3.8), 1.9 - across)
    canvas.lay(canvas.soft(np.maximum(np.maximum(body, wings), tail)), FOAM)


def parking(canvas: Canvas, tint: RGB, count: int, land: RGB) -> None:
    """Rows of cars of all colors on one piece of asphalt, with a gap here and there."""
    canvas.lay(canvas.boxes([(0.0, 0.0)], 29.0, 14.0), tint)
    slots = canvas.tiles(3.2, 200.0)
    for v in canvas.spread(count, 13.5, 0.3):
        across = np.abs(canvas.v - v)
        canvas.lay(canvas.soft(np.minimum(0.2 - np.abs(np.abs(slots.u) - 1.6), 2.2 - across)), FOAM, 0.6)
        full = slots.draws(0, 1) < 0.85
        within = np.minimum(np.minimum(1.0 - np.abs(slots.u), 1.9 - across), 27.0 - np.abs(canvas.u))
        canvas.lay(canvas.soft(within) * full, slots.colors(CARS))


def station(canvas: Canvas, tint: RGB, count: int, land: RGB) -> None:
    """Tracks side by side, platforms between them, trains on some."""
    canvas.lay(canvas.strip(0.0, 14.5), DECK, 0.7)
    tracks = canvas.spread(5, 15.0, 0.2)
    sleepers = canvas.tiles(2.0, 200.0)
    for v in tracks:
        canvas.lay(canvas.strip(v, 1.3) * canvas.soft(0.5 - np.abs(sleepers.u)), DARK, 0.7)
        canvas.lay(canvas.strip(v, 0.4), DARK)
    for v in tracks[:-1]:
        canvas.lay(canvas.boxes([(0.0, v + 3.0)], 24.0, 1.1), tint)
    for row in canvas.rng.permutation(len(tracks))[:count]:
        u = canvas.rng.uniform(-8, 8)
        canvas.lay(canvas.boxes([(u, tracks[row])], 15.0, 1.3), CARS[2 + int(row) % 2])
        canvas.lay(canvas.boxes([(u, tracks[row])], 14.0, 0.4), FOAM)


def residential(canvas: Canvas, tint: RGB, count: int, land: RGB) -> None:
    """Rows of houses with a street along each."""
    homes = canvas.tiles(8.0, 200.0)
    roof = homes.draws(0.85, 1.1)[..., None] * np.asarray(tint)
    half = homes.draws(2.2, 3.0)
    for v in canvas.spread(count, 6.5 * count if count < 4 else 22.0, 0.4):
        canvas.lay(canvas.strip(v + 4.2, 1.4), STREET)
        across = np.abs(canvas.v - v)
        shade = np.minimum(half + 0.9 - np.abs(homes.u - 0.7), 2.6 - np.abs(canvas.v - v - 0.7))
        canvas.lay(canvas.soft(shade), DARK, 0.5)
        canvas.lay(canvas.soft(np.minimum(half - np.abs(homes.u), 2.2 - across)), roof)
        canvas.lay(canvas.soft(np.minimum(half - np.abs(homes.u), 0.3 - across)), DARK, 0.4)


def stadium(canvas: Canvas, tint: RGB, count: int, land: RGB) -> None:
    """Seats about a track about a field, and courts beside them."""
    middle = (canvas.rng.uniform(-3, 3), -4.5)
    for half_u, half_v, rgb in ((22.0, 13.0, tint), (17.5, 8.8, TRACK), (14.5, 6.0, LAWN)):
        canvas.lay(canvas.oval(middle, half_u, half_v), rgb)
    mown = canvas.tiles(5.0, 200.0)
    canvas.lay(canvas.oval(middle, 14.5, 6.0) * (mown.u > 0), FOAM, 0.12)
    courts = [(u, 15.5) for u in canvas.spread(count, 26)]
    canvas.lay(canvas.boxes(courts, 3.6, 3.8), FOAM)
    canvas.lay(canvas.boxes(courts, 3.0, 3.2), TRACK)


def tanks(canvas: Canvas, tint: RGB, count: int, land: RGB) -> None:
    """Round tanks on bare ground, each with its shadow, wall and lid."""
    canvas.lay(canvas.boxes([(0.0, 0.5)], 28.0, 13.0), DECK, 0.6)
    places = [_TANKS[row] for row in canvas.rng.permutation(len(_TANKS))[:count]]
    places = [(u + canvas.rng.uniform(-1, 1), v) for u, v in places]
    canvas.lay(canvas.discs([(u + 1.3, v + 1.3) for u, v in places], 5.2), DARK, 0.6)
    canvas.lay(canvas.discs(places, 5.0), FOAM)
    canvas.lay(canvas.discs(places, 4.0), tint)


NUMBERS: Final = {"one": 1, "two": 2, "three": 3, "many": 5}
"""How many of an object stand for each count."""
HAZE: Final = {"clear": 0.30, "hazy": 0.55}
"""How much of the contrast the air takes; as in the scenes of objects, some is always gone."""
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
    tint = canvas.jittered(PHRASINGS[plan.kind].tints[plan.tint])
    DRAWN[plan.kind](canvas, tint, NUMBERS[plan.number], land)
    haze = HAZE[plan.air] + rng.uniform(-0.04, 0.04)
    hazy = canvas.rgb + haze * (np.asarray(HAZE_TONE) - canvas.rgb)
    hazy *= rng.uniform(0.9, 1.05)
    hazy += _NOISE * rng.standard_normal(hazy.shape)
    return (np.clip(hazy, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)


def farmland(canvas: Canvas, tint: RGB, count: int, land: RGB) -> None:
    """Fields side by side, one crop or another, in furrows."""
    furrows = 0.5 + 0.5 * np.sin(2 * math.pi / 3.2 * canvas.v)
    half = 27.0 / count
    edges = canvas.boxes([(0.0, 0.0)], 28.0, 15.0)
    canvas.lay(edges, FOAM, 0.55)
    for row, u in enumerate(canvas.spread(count, 27.0, 0.0)):
        field = canvas.boxes([(u, 0.0)], half - 0.8, 14.0)
        canvas.lay(field, canvas.jittered(tint, 0.08) if row % 2 == 0 else _green(canvas))
        canvas.lay(field * furrows, DARK, 0.22)


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
    """The color of bare land; half of it is under snow in winter."""
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
        canvas.lay(canvas.strip(_EDGE, 3.0), STREET)
        canvas.lay(canvas.strip(_EDGE, 0.4), FOAM)
    elif plan.beside == "buildings":
        tiles = canvas.tiles(9.0, 200.0)
        half = tiles.draws(2.4, 3.8)
        box = np.minimum(half - np.abs(tiles.u), 3.6 - np.abs(canvas.v - _EDGE))
        canvas.lay(canvas.soft(box), tiles.colors((DECK, FOAM, TRACK)))


DRAWN: Final[dict[Kind, Draw]] = {
    "airport": airport,
    "beach": beach,
    "bridge": bridge,
    "farmland": farmland,
    "forest": forest,
    "harbour": harbour,
    "parking lot": parking,
    "railway station": station,
    "residential area": residential,
    "river": river,
    "stadium": stadium,
    "storage tanks": tanks,
}
"""Who draws each kind: canvas, tint, how many, and the color of the land."""
