"""Line charts with interval bands and direct labels: a metric against eps, steps or votes."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Final, NamedTuple

from markupsafe import Markup

from secondlook.audit.report.svg import Scale, Spot, axis, board, join, path, spread, tag
from secondlook.audit.report.sweeps import Axis, Line, Panel
from secondlook.audit.report.words import level, share, title
from secondlook.audit.schema import Cell, Metric, ThreatRow

WIDTH, HEIGHT = 420.0, 236.0
LEFT, TOP, BOTTOM, INSET = 42.0, 12.0, 190.0, 8.0
_LETTER, _LINE, _WIDEST = 6.6, 14.0, 150.0
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_TICK_ROOM = 19.0
_PALEST = 0.4

SHARES: Final = Scale(low=0, high=1, start=BOTTOM, end=TOP)
"""The upright scale of all charts, from 0 to 100 %."""


class Mark(NamedTuple):
    """One cell on a chart: its place and the places of its interval's ends."""

    spot: Spot
    low: Spot
    high: Spot


def chart(panel: Panel, metric: str) -> Markup:
    """One metric of all lines of a panel, 0 to 100 %, against the panel's axis."""
    across = axis([x for line in panel.lines for x in line.xs], LEFT + INSET, _right(panel.lines))
    drawn = [(line, marks(line, metric, across)) for line in panel.lines]
    drawn = [(line, found) for line, found in drawn if found]
    return board(
        WIDTH, HEIGHT, _told(panel, metric), _grid(panel, across),
        *(band(line, found) for line, found in drawn),
        *(_stroke(line, metric, across, panel.lines) for line, _ in drawn), labels(drawn),
    )  # fmt: skip


def marks(line: Line, metric: str, across: Scale) -> list[Mark]:
    """Where the cells of a line stand; those whose figure is missing or not a number do not."""
    return [_mark(across(x), figure) for x, _, figure in _figures(line, metric)]


def _figures(line: Line, metric: str) -> list[tuple[float, Cell, Metric]]:
    pairs = zip(line.xs, line.cells, strict=True)
    known = [(x, cell, cell.metrics[metric]) for x, cell in pairs if metric in cell.metrics]
    return [(x, cell, figure) for x, cell, figure in known if isfinite(figure.value)]


def _mark(x: float, figure: Metric) -> Mark:
    ends = (figure.low, figure.high)
    low, high = (SHARES(min(max(e, 0.0), 1.0) if isfinite(e) else figure.value) for e in ends)
    return Mark(Spot(x, SHARES(figure.value)), Spot(x, low), Spot(x, high))


def _right(lines: Sequence[Line]) -> float:
    longest = max(len(line.label) for line in lines)
    return WIDTH - INSET - min(_WIDEST, 8 + _LETTER * longest)


def _strength(line: Line, lines: Sequence[Line]) -> float:
    """Lines of one colour go from pale to full, in their order."""
    kin = [other.label for other in lines if other.knowledge == line.knowledge]
    rank = (kin.index(line.label) + 1) / len(kin)
    return _PALEST + (1 - _PALEST) * rank


def _grid(panel: Panel, across: Scale) -> Markup:
    rules = [
        tag("line", class_="rule", x1=LEFT, x2=across.end + INSET, y1=SHARES(tick), y2=SHARES(tick))
        for tick in _TICKS
    ]
    heights = [
        tag("text", f"{100 * tick:.0f}{' %' if tick == 1 else ''}", class_="tick",
            text_anchor="end", x=LEFT - 6, y=SHARES(tick) + 4)
        for tick in _TICKS[::2]
    ]  # fmt: skip
    legend = tag(
        "text", axis_title(panel), class_="dim", text_anchor="middle",
        x=(LEFT + across.end) / 2, y=HEIGHT - 8,
    )  # fmt: skip
    return join([*rules, *heights, *_across_ticks(panel, across), legend])


def _across_ticks(panel: Panel, across: Scale) -> list[Markup]:
    values = sorted({x for line in panel.lines for x in line.xs})
    ticks, free = [], LEFT - _TICK_ROOM
    for value in values:
        if across(value) >= free:
            ticks.append(tag(
                "text", _value(panel, value), class_="tick", text_anchor="middle",
                x=across(value), y=BOTTOM + 17,
            ))  # fmt: skip
            free = across(value) + _TICK_ROOM
    return ticks


def axis_title(panel: Panel) -> str:
    """What the axis measures, with its unit."""
    norm = panel.lines[0].cells[0].threat.norm
    titles: dict[Axis, str] = {
        "eps": "eps, L∞, in 1/255" if norm == "linf" else f"eps, {norm.upper()}, in pixel units",
        "steps": "gradient steps of the attack",
        "samples": "N, reconstructions that vote",
    }
    return titles[panel.axis]


def _value(panel: Panel, value: float) -> str:
    if panel.axis != "eps":
        return f"{value:g}"
    return level(ThreatRow(norm=panel.lines[0].cells[0].threat.norm, eps=value))


def band(line: Line, found: list[Mark]) -> Markup:
    """The interval of a line, from its lowest end to its highest."""
    around = [mark.high for mark in found] + [mark.low for mark in reversed(found)]
    return tag("path", class_=f"band k-{line.knowledge}", d=path(around, close=True))


def _stroke(line: Line, metric: str, across: Scale, lines: Sequence[Line]) -> Markup:
    spots = [mark.spot for mark in marks(line, metric, across)]
    drawn = tag("path", class_=f"line k-{line.knowledge}", d=path(spots))
    return tag("g", drawn, dots(line, metric, across), opacity=_strength(line, lines))


def dots(line: Line, metric: str, across: Scale) -> Markup:
    """A dot for each cell of a line, which says its figure."""
    return join(
        tag(
            "circle", tag("title", f"{line.label}: {share(figure, cell.n)}, n = {cell.n}"),
            class_=f"dot k-{line.knowledge}", cx=across(x), cy=SHARES(figure.value), r=3.2,
        )
        for x, cell, figure in _figures(line, metric)
    )  # fmt: skip


def labels(drawn: Sequence[tuple[Line, list[Mark]]]) -> Markup:
    """What lines are called, beside their ends and out of each other's way."""
    wanted = [found[-1].spot.y for _, found in drawn]
    heights = spread(wanted, _LINE, TOP, BOTTOM)
    return join(
        tag("text", line.label, class_=f"label k-{line.knowledge}", x=found[-1].spot.x + 9, y=y + 4)
        for (line, found), y in zip(drawn, heights, strict=True)
    )


def _told(panel: Panel, metric: str) -> str:
    lines = [
        f"{line.label}: " + ", ".join(
            f"{_value(panel, x)} gives {share(figure, cell.n)}"
            for x, cell, figure in _figures(line, metric)
        )
        for line in panel.lines
    ]  # fmt: skip
    return f"{title(metric)} of {panel.name} against {axis_title(panel)}. {'; '.join(lines)}."
