"""Sites by the water: beach, bridge, harbour, river."""

from typing import Final

from secondlook.scenes.overhead.canvas import Canvas, Place
from secondlook.scenes.world import RGB

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
    boats(canvas, [(at + side * (9.5 + 7 * place), canvas.rng.uniform(-10, 10))
                   for side, place in sides])  # fmt: skip


def harbour(canvas: Canvas, tint: RGB, count: int, land: RGB) -> None:
    """A basin with a quay and piers, and ships between them."""
    canvas.lay(canvas.soft(7.0 - canvas.v), tint)
    canvas.lay(canvas.boxes([(0.0, 8.0)], 40.0, 2.2), DECK)
    piers = canvas.spread(4, 26)
    canvas.lay(canvas.boxes([(u, 0.0) for u in piers], 0.9, 8.0), DECK)
    berths: list[Place] = [(u + side * 3.0, canvas.rng.uniform(-6, 3))
                           for side in (1, -1) for u in piers]  # fmt: skip
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
