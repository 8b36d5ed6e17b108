"""What sites are drawn with: soft masks in coordinates that run along a site and across it."""

import math
from collections.abc import Sequence

import numpy as np

from secondlook.scenes.shapes import Array
from secondlook.scenes.world import RGB, SIDE

Place = tuple[float, float]


class Canvas:
    """A picture under way.

    Args:
        size: its width and height in pixels.
        ground: its color at first.
        angle: which way a site runs, radians clockwise on the screen.
        rng: where jitter is drawn from.

    Attributes:
        u: how far each pixel lies along the site from the middle, ``[size, size]``, in units of
            the world, which is 64 wide.
        v: how far it lies across.
    """

    def __init__(self, size: int, ground: RGB, angle: float, rng: np.random.Generator) -> None:
        self.rng, self.pixel = rng, SIDE / size
        axis = (np.arange(size, dtype=np.float64) + 0.5) * self.pixel - SIDE / 2
        cos, sin = math.cos(angle), math.sin(angle)
        x, y = axis[None, :], axis[:, None]
        self.u, self.v = cos * x + sin * y, cos * y - sin * x
        self.rgb = np.empty((size, size, 3))
        self.rgb[:] = ground

    def lay(self, mask: Array, rgb: RGB | Array, strength: float = 1.0) -> None:
        """Paints a color where ``mask``, ``[size, size]`` in [0, 1], says so."""
        self.rgb += (strength * mask)[..., None] * (np.asarray(rgb) - self.rgb)

    def soft(self, inside: Array) -> Array:
        """A mask of distances to an edge, positive inside."""
        return np.clip(0.5 + inside / self.pixel, 0.0, 1.0)

    def strip(self, middle: float | Array, half: float) -> Array:
        """A band along the site, ``half`` to either side of ``middle``."""
        return self.soft(half - np.abs(self.v - middle))

    def boxes(self, places: Sequence[Place], half_u: float, half_v: float) -> Array:
        """Upright boxes around ``places``, given along and across."""
        if not places:
            return np.zeros_like(self.u)
        at = np.asarray(places)[:, :, None, None]
        along, across = np.abs(self.u - at[:, 0]), np.abs(self.v - at[:, 1])
        mask: Array = self.soft(np.minimum(half_u - along, half_v - across)).max(0)
        return mask

    def discs(self, places: Sequence[Place], radius: float) -> Array:
        """Discs around ``places``."""
        if not places:
            return np.zeros_like(self.u)
        at = np.asarray(places)[:, :, None, None]
        mask: Array = self.soft(radius - np.hypot(self.u - at[:, 0], self.v - at[:, 1])).max(0)
        return mask

    def oval(self, middle: Place, half_u: float, half_v: float) -> Array:
        """A rounded field: two half discs and what is between them."""
        stretch = np.maximum(np.abs(self.u - middle[0]) - (half_u - half_v), 0.0)
        return self.soft(half_v - np.hypot(stretch, self.v - middle[1]))

    def wavy(self, height: float) -> Array:
        """A line that winds along the site, by up to ``height`` to either side."""
        length, start = self.rng.uniform(24, 40), self.rng.uniform(0, 2 * math.pi)
        return height * np.sin(2 * math.pi / length * self.u + start)

    def tiles(self, period_u: float, period_v: float, jitter: float = 0.0) -> "Tiles":
        """The picture cut into tiles, each with draws of its own."""
        return Tiles(self, period_u, period_v, jitter)

    def jittered(self, rgb: RGB, amount: float = 0.04) -> RGB:
        """A color, a little off."""
        return RGB(*np.clip(np.asarray(rgb) + self.rng.uniform(-amount, amount, 3), 0, 1).tolist())

    def spread(self, count: int, reach: float, jitter: float = 1.0) -> list[float]:
        """``count`` places on a line from ``-reach`` to ``reach``, evenly but for a jitter."""
        middles = (np.arange(count) + 0.5) / count * 2 * reach - reach
        places: list[float] = (middles + self.rng.uniform(-jitter, jitter, count)).tolist()
        return places


class Tiles:
    """A grid of tiles over a canvas.

    Attributes:
        u: how far each pixel lies from the middle of its tile, along the site.
        v: the same across.
    """

    _COUNT = 16

    def __init__(self, canvas: Canvas, period_u: float, period_v: float, jitter: float) -> None:
        self._rng = canvas.rng
        down, across = np.floor(canvas.v / period_v), np.floor(canvas.u / period_u)
        self._at = down.astype(np.intp) % self._COUNT, across.astype(np.intp) % self._COUNT
        self.u = canvas.u - (across + 0.5) * period_u
        self.v = canvas.v - (down + 0.5) * period_v
        if jitter:
            self.u -= self.draws(-jitter, jitter)
            self.v -= self.draws(-jitter, jitter)

    def draws(self, low: float, high: float) -> Array:
        """One number for each tile, the same for all its pixels."""
        return self._rng.uniform(low, high, (self._COUNT, self._COUNT))[self._at]

    def colors(self, palette: Sequence[RGB]) -> Array:
        """One color of a palette for each tile, ``[size, size, 3]``."""
        chosen = self._rng.integers(len(palette), size=(self._COUNT, self._COUNT))
        return np.asarray(palette)[chosen[self._at]]
