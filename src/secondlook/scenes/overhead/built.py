"""Sites that people have built: airport, parking lot, station, houses, stadium, tanks."""

from typing import Final

import numpy as np

from secondlook.scenes.overhead.canvas import Canvas, Place
from secondlook.scenes.overhead.water import DARK, DECK, FOAM
from secondlook.scenes.world import RGB

CARS: Final = (
    RGB(0.85, 0.85, 0.85), RGB(0.15, 0.15, 0.17), RGB(0.66, 0.16, 0.14), RGB(0.18, 0.28, 0.60),
)  # fmt: skip
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
    """Rows of cars of all colours on one piece of asphalt, with a gap here and there."""
    canvas.lay(canvas.boxes([(0.0, 0.0)], 29.0, 14.0), tint)
    slots = canvas.tiles(3.2, 200.0)
    for v in canvas.spread(count, 13.5, 0.3):
        across = np.abs(canvas.v - v)
        canvas.lay(canvas.soft(np.minimum(0.2 - np.abs(np.abs(slots.u) - 1.6), 2.2 - across)),
                   FOAM, 0.6)  # fmt: skip
        full = slots.draws(0, 1) < 0.85
        within = np.minimum(np.minimum(1.0 - np.abs(slots.u), 1.9 - across),
                            27.0 - np.abs(canvas.u))  # fmt: skip
        canvas.lay(canvas.soft(within) * full, slots.colours(CARS))


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
