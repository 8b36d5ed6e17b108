"""Charts as SVG: tags, scales, the frame of a chart, and labels out of each other's way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import Final, NamedTuple

from markupsafe import Markup

_CROWDED = 0.05


class Spot(NamedTuple):
    """A place on the board, in its own units, y downwards."""

    x: float
    y: float


def tag(name: str, *children: str, **attributes: object) -> Markup:
    """An element; everything that is not markup already is escaped.

    Example:
        >>> tag("text", "a < b", class_="dim", text_anchor="end", x=1.50)
        Markup('<text class="dim" text-anchor="end" x="1.5">a &lt; b</text>')
    """
    written = (
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), _plain(value)) for key, value in attributes.items()
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, join(written), join(children))


def join(parts: Iterable[str]) -> Markup:
    """Several pieces as one."""
    return Markup("").join(parts)


def board(width: float, height: float, says: str, *children: str) -> Markup:
    """A picture that scales with its column; ``says`` is what it tells those who cannot see it."""
    return tag(
        "svg", *children, class_="chart", viewBox=f"0 0 {_plain(width)} {_plain(height)}", role="img", aria_label=says
    )


def path(spots: Sequence[Spot], close: bool = False) -> str:
    """The ``d`` of a path through all spots."""
    steps = [f"{'L' if i else 'M'}{_plain(x)} {_plain(y)}" for i, (x, y) in enumerate(spots)]
    return " ".join(steps) + (" Z" if close else "")


def _plain(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)


@dataclass(frozen=True, kw_only=True)
class Scale:
    """From values to places.

    Attributes:
        low: the value at ``start``.
        high: the value at ``end``.
        start: a place, in the board's units.
        end: another.
        by_ratio: equal ratios, rather than equal differences, are equally far apart.
    """

    low: float
    high: float
    start: float
    end: float
    by_ratio: bool = False

    def __call__(self, value: float) -> float:
        """The place of ``value``; the middle where all values are one."""
        if self.low == self.high:
            return (self.start + self.end) / 2
        if self.by_ratio:
            along = log(value / self.low) / log(self.high / self.low)
        else:
            along = (value - self.low) / (self.high - self.low)
        return self.start + along * (self.end - self.start)


def axis(values: Iterable[float], start: float, end: float) -> Scale:
    """A scale for these values: by ratio where a plain one would press neighbors together."""
    ticks = sorted(set(values))
    width = ticks[-1] - ticks[0]
    gaps = [after - before for before, after in zip(ticks, ticks[1:], strict=False)]
    crowded = bool(gaps) and ticks[0] > 0 and min(gaps) < _CROWDED * width
    return Scale(low=ticks[0], high=ticks[-1], start=start, end=end, by_ratio=crowded)


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places near the wanted ones, at least ``gap`` apart and, if that can be, inside the ends.

    Example:
        >>> spread([10.0, 12.0, 50.0], gap=10, low=0, high=100)
        [10.0, 20.0, 50.0]
    """
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = list(wanted)
    floor = low
    for i in order:
        places[i] = floor = max(places[i], floor)
        floor += gap
    ceiling = high
    for i in reversed(order):
        places[i] = ceiling = min(places[i], ceiling)
        ceiling -= gap
    return places


TOP, BOTTOM = 12.0, 190.0
WIDTH, HEIGHT = 320.0, 236.0
"""Of a small chart."""
LEFT, RIGHT = 42.0, WIDTH - 10
SHARES: Final = Scale(low=0, high=1, start=BOTTOM, end=TOP)
"""The upright scale of all charts, from 0 to 100 %."""
_ROOM = 24.0
HATCH: Final = Markup(
    '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" '
    'patternTransform="rotate(45)"><rect width="6" height="6" class="hatch-ground"/>'
    '<rect width="2.2" height="6" class="hatch-line"/></pattern></defs>'
)
"""What rejected samples are filled with."""


def frame(across: Scale, ticks: Mapping[float, str], title: str, right: float = RIGHT) -> Markup:
    """Rules at the halves, ticks below, and what is measured; what would overlap is left out."""
    rules = [
        tag("line", class_="rule", x1=LEFT, x2=right, y1=SHARES(share), y2=SHARES(share)) for share in (0.0, 0.5, 1.0)
    ]
    heights = [
        tag("text", text, class_="tick", text_anchor="end", x=LEFT - 6, y=SHARES(share) + 4)
        for share, text in ((0.0, "0"), (0.5, "50"), (1.0, "100 %"))
    ]
    legend = tag("text", title, class_="dim", text_anchor="middle", x=(LEFT + right) / 2, y=HEIGHT - 8)
    return join([*rules, *heights, *_ticks(across, ticks), legend])


def _ticks(across: Scale, ticks: Mapping[float, str]) -> list[Markup]:
    drawn, free = [], LEFT - _ROOM
    for value in sorted(ticks):
        if across(value) >= free:
            drawn.append(tag("text", ticks[value], class_="tick", text_anchor="middle", x=across(value), y=BOTTOM + 17))
            free = across(value) + _ROOM
    return drawn
