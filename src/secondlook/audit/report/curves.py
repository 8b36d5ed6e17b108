"""Curves: rows that differ in one value alone, their metrics against it, and areas of outcomes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, Literal, NamedTuple, TypeVar, get_args

from markupsafe import Markup

from secondlook.audit.report.matrix import attack_details, defense_name, goal_of
from secondlook.audit.report.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    SHARES,
    TOP,
    WIDTH as NARROW,
    Scale,
    Spot,
    axis,
    board,
    frame,
    join,
    path,
    spread,
    tag,
)
from secondlook.audit.report.words import level, percent, share, unit
from secondlook.schema import Cell, Metric, ThreatRow
from secondlook.tasks.view import Column, Curve, view_of

Axis = Literal["eps", "steps", "samples"]
AXES: Final[Mapping[Axis, str]] = {
    "eps": "eps",
    "steps": "gradient steps of the attack",
    "samples": "N, reconstructions that vote",
}
"""What is measured along each axis."""
STACK: Final = ("correct", "rejected", "wrong")
"""From the bottom up: what is kept, what is refused, what is lost."""
WIDTH, INSET = 420.0, 8.0
_LETTER, _LINE, _WIDEST = 6.6, 14.0, 150.0
_TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)
_TICK_ROOM = 19.0
_PALEST = 0.4
_KEPT_TOGETHER = 6
"""With more lines than this a panel is cut by the attacker's knowledge."""
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Line:
    """Cells that differ only in the value of the axis, in its order.

    Attributes:
        label: what the line is called among its neighbors.
        knowledge: of the attacker; it chooses the color.
        xs: the values of the axis.
        cells: the cells, as many.
    """

    label: str
    knowledge: str
    xs: tuple[float, ...]
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The lines of one defense against one axis.

    Attributes:
        axis: what is varied.
        name: what the defense is called.
        place: task and model.
        knowledge: of the attackers, where it is one and the lines' labels leave it out.
        lines: at least one.
    """

    axis: Axis
    name: str
    place: str
    knowledge: str
    lines: tuple[Line, ...]

    @property
    def columns(self) -> list[Column]:
        """What is drawn, as the task says."""
        first = self.lines[0].cells[0]
        return [view_of(first.task).column(metric) for metric in goal_of(first).drawn]


def panels(cells: Sequence[Cell]) -> list[Panel]:
    """All curves of an audit: eps first, then steps, then the number of votes."""
    return [panel for axis in get_args(Axis) for panel in _along(axis, cells)]


def coordinate(cell: Cell, axis: Axis) -> float | None:
    """Where a cell stands on the axis; None if it is not on it."""
    if axis == "eps":
        return cell.threat.eps or None
    table = "attack" if axis == "steps" else "defense"
    value = cell.settings.get(table, {}).get(axis)
    return float(value) if isinstance(value, int | float) else None


def _along(axis: Axis, cells: Sequence[Cell]) -> list[Panel]:
    on_axis = [cell for cell in cells if coordinate(cell, axis) is not None]
    lines = [
        sorted(line, key=lambda cell: coordinate(cell, axis) or 0)
        for line in _grouped(on_axis, lambda cell: _making(cell, axis))
        if len({coordinate(cell, axis) for cell in line}) > 1
    ]
    families = _grouped(lines, lambda line: _family(line[0], axis))
    return [_panel(axis, part, cells) for family in families for part in _cut(family)]


def _grouped(things: Sequence[T], key: Callable[[T], str]) -> list[list[T]]:
    groups: dict[str, list[T]] = {}
    for thing in things:
        groups.setdefault(key(thing), []).append(thing)
    return list(groups.values())


def _cut(family: list[list[Cell]]) -> list[list[list[Cell]]]:
    if len(family) <= _KEPT_TOGETHER:
        return [family]
    return _grouped(family, lambda line: line[0].knowledge)


def _panel(axis: Axis, lines: list[list[Cell]], cells: Sequence[Cell]) -> Panel:
    first = lines[0][0]
    shared = _common([cell.defense for cell in lines[0]])
    alone = len({line[0].knowledge for line in lines}) == 1
    return Panel(
        axis=axis,
        name=shared if axis == "samples" else defense_name(first, cells),
        place=f"{first.task} · {first.model}",
        knowledge=first.knowledge if alone else "",
        lines=tuple(_line(axis, line, lines, alone) for line in lines),
    )


def _line(axis: Axis, line: list[Cell], lines: list[list[Cell]], alone: bool) -> Line:
    first = line[0]
    peers = [other[0] for other in lines if other[0].knowledge == first.knowledge]
    varied = "budget" if axis == "eps" else axis
    details = attack_details(first, peers, besides=varied)
    return Line(
        label=" · ".join(details if alone and details else [first.knowledge, *details]),
        knowledge=first.knowledge,
        xs=tuple(coordinate(cell, axis) or 0.0 for cell in line),
        cells=tuple(line),
    )


def _making(cell: Cell, axis: Axis) -> str:
    """Everything that a cell came from, except the value of the axis."""
    return _family(cell, axis) + _written(
        cell.attack,
        cell.knowledge,
        cell.surrogates,
        cell.resolution,
        cell.threat.norm,
        cell.threat.eps if axis != "eps" else None,
        _without(axis, cell.settings.get("attack")),
    )


def _family(cell: Cell, axis: Axis) -> str:
    """Everything about the defense, except the value of the axis; and the unit of the axis."""
    return _written(
        cell.task,
        cell.model,
        cell.threat.norm if axis == "eps" else None,
        cell.defense if axis != "samples" else None,
        _without(axis, cell.settings.get("defense")),
    )


def _without(axis: Axis, settings: dict[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (settings or {}).items() if key != axis}


def _written(*values: Any) -> str:
    return json.dumps(values, sort_keys=True, default=str)


def _common(labels: list[str]) -> str:
    """The words that all labels share, in order."""
    words = [word for word in labels[0].split() if all(word in label.split() for label in labels)]
    return " ".join(words) or labels[0]


class Mark(NamedTuple):
    """One cell on a chart: its place and the places of its interval's ends."""

    spot: Spot
    low: Spot
    high: Spot


def chart(panel: Panel, column: Column) -> Markup:
    """One metric of all lines of a panel, 0 to 100 %, against the panel's axis."""
    metric = column.metric
    across = axis([x for line in panel.lines for x in line.xs], LEFT + INSET, _right(panel.lines))
    drawn = [(line, marks(line, metric, across)) for line in panel.lines]
    drawn = [(line, found) for line, found in drawn if found]
    return board(
        WIDTH,
        HEIGHT,
        _description(panel, column),
        _grid(panel, across),
        *(band(line, found) for line, found in drawn),
        *(_stroke(line, metric, across, panel.lines) for line, _ in drawn),
        labels(drawn),
    )


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
    """Lines of one color go from pale to full, in their order."""
    kin = [other.label for other in lines if other.knowledge == line.knowledge]
    return _rank(kin.index(line.label), len(kin))


def _grid(panel: Panel, across: Scale) -> Markup:
    rules = [
        tag("line", class_="rule", x1=LEFT, x2=across.end + INSET, y1=SHARES(tick), y2=SHARES(tick)) for tick in _TICKS
    ]
    heights = [
        tag(
            "text",
            f"{100 * tick:.0f}{' %' if tick == 1 else ''}",
            class_="tick",
            text_anchor="end",
            x=LEFT - 6,
            y=SHARES(tick) + 4,
        )
        for tick in _TICKS[::2]
    ]
    legend = tag("text", axis_title(panel), class_="dim", text_anchor="middle", x=(LEFT + across.end) / 2, y=HEIGHT - 8)
    return join([*rules, *heights, *_across_ticks(panel, across), legend])


def _across_ticks(panel: Panel, across: Scale) -> list[Markup]:
    values = sorted({x for line in panel.lines for x in line.xs})
    ticks, free = [], LEFT - _TICK_ROOM
    for value in values:
        if across(value) >= free:
            ticks.append(
                tag("text", _value(panel, value), class_="tick", text_anchor="middle", x=across(value), y=BOTTOM + 17)
            )
            free = across(value) + _TICK_ROOM
    return ticks


def axis_title(panel: Panel) -> str:
    """What the axis measures, with its unit."""
    if panel.axis == "eps":
        return unit(panel.lines[0].cells[0].threat.norm)
    return AXES[panel.axis]


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
            "circle",
            tag("title", f"{line.label}: {share(figure, cell.n)}, n = {cell.n}"),
            class_=f"dot k-{line.knowledge}",
            cx=across(x),
            cy=SHARES(figure.value),
            r=3.2,
        )
        for x, cell, figure in _figures(line, metric)
    )


def labels(drawn: Sequence[tuple[Line, list[Mark]]]) -> Markup:
    """What lines are called, beside their ends and out of each other's way."""
    wanted = [found[-1].spot.y for _, found in drawn]
    heights = spread(wanted, _LINE, TOP, BOTTOM)
    return join(
        tag("text", line.label, class_=f"label k-{line.knowledge}", x=found[-1].spot.x + 9, y=y + 4)
        for (line, found), y in zip(drawn, heights, strict=True)
    )


def _description(panel: Panel, column: Column) -> str:
    lines = [
        f"{line.label}: "
        + ", ".join(
            f"{_value(panel, x)} gives {share(figure, cell.n)}" for x, cell, figure in _figures(line, column.metric)
        )
        for line in panel.lines
    ]
    return f"{column.title} of {panel.name} against {axis_title(panel)}. {'; '.join(lines)}."


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One attack on one defense, from no change at all to the largest budget.

    Attributes:
        name: what the defense is called.
        attacker: and who attacks.
        knowledge: what they know; it chooses the color.
        xs: budgets, rising from 0.
        cells: the rows, the clean one first.
    """

    name: str
    attacker: str
    knowledge: str
    xs: tuple[float, ...]
    cells: tuple[Cell, ...]

    @property
    def ticks(self) -> dict[float, str]:
        """The budgets in words."""
        norm = self.cells[-1].threat.norm
        return {x: level(ThreatRow(norm=norm, eps=x)) for x in self.xs}

    @property
    def unit(self) -> str:
        """What the budgets measure."""
        return unit(self.cells[-1].threat.norm)

    def across(self, right: float) -> Scale:
        """From budgets to places."""
        return Scale(low=self.xs[0], high=self.xs[-1], start=LEFT, end=right)


def sweeps(cells: Sequence[Cell], metrics: Sequence[str] = STACK) -> list[Sweep]:
    """Every attack that was tried at several budgets, where all rows have these metrics."""
    found = [_sweep(panel.name, line, cells) for panel in panels(cells) if panel.axis == "eps" for line in panel.lines]
    return [s for s in found if all(name in cell.metrics for name in metrics for cell in s.cells)]


def _sweep(name: str, line: Line, cells: Sequence[Cell]) -> Sweep:
    first = line.cells[0]
    clean = [
        cell
        for cell in cells
        if cell.knowledge == "clean"
        and (cell.task, cell.model) == (first.task, first.model)
        and cell.settings.get("defense") == first.settings.get("defense")
        and cell.defense == first.defense
    ][:1]
    return Sweep(
        name=name,
        attacker=line.label,
        knowledge=line.knowledge,
        xs=(*(0.0 for _ in clean), *line.xs),
        cells=(*clean, *line.cells),
    )


def areas(sweep: Sweep) -> Markup:
    """The shares of the outcomes against eps, stacked to the whole."""
    across = sweep.across(RIGHT)
    said = "; ".join(f"at {sweep.ticks[x]}: {_outcomes(cell)}" for x, cell in zip(sweep.xs, sweep.cells, strict=True))
    return board(
        NARROW,
        HEIGHT,
        f"Outcomes of {sweep.name}, {sweep.attacker}, by eps. {said}.",
        *(_area(sweep, across, i) for i in range(len(STACK))),
        frame(across, sweep.ticks, sweep.unit),
        *(_stripe(sweep, across, i) for i in range(len(sweep.xs))),
    )


def height(cell: Cell, upto: int) -> float:
    """Where the first ``upto`` outcomes of a row end, stacked."""
    return min(1.0, sum(cell.metrics[name].value for name in STACK[:upto]))


def _area(sweep: Sweep, across: Scale, index: int) -> Markup:
    points = list(zip(sweep.xs, sweep.cells, strict=True))
    top = [Spot(across(x), SHARES(height(cell, index + 1))) for x, cell in points]
    bottom = [Spot(across(x), SHARES(height(cell, index))) for x, cell in reversed(points)]
    return tag("path", class_=f"o-{STACK[index]}", d=path(top + bottom, close=True))


def _stripe(sweep: Sweep, across: Scale, index: int) -> Markup:
    """A line at a budget that was tried, which says its figures."""
    x = across(sweep.xs[index])
    drawn = tag("line", class_="tried", x1=x, x2=x, y1=SHARES(0), y2=SHARES(1))
    return tag("g", tag("title", _outcomes(sweep.cells[index])), drawn)


def _outcomes(cell: Cell) -> str:
    view = view_of(cell.task)
    return ", ".join(f"{percent(cell.metrics[name].value, cell.n)} {view.column(name).title}" for name in STACK)


def charted(cells: Sequence[Cell]) -> list[tuple[Sweep, tuple[Curve, ...]]]:
    """The sweeps of tasks that have curves of their own, with these."""
    found = []
    for task in dict.fromkeys(cell.task for cell in cells):
        drawn = view_of(task).curves
        metrics = [metric for curve in drawn for metric in curve.lines.values()]
        rows = [cell for cell in cells if cell.task == task]
        found += [(sweep, drawn) for sweep in (sweeps(rows, metrics) if drawn else [])]
    return found


def several(sweep: Sweep, curve: Curve) -> Markup:
    """Several metrics of one attack against eps, with 95 % intervals; at the left no change."""
    right = WIDTH - 8 - _LETTER * max(map(len, curve.lines)) - 2 * INSET
    across, drawn = sweep.across(right), []
    for label, metric in curve.lines.items():
        line = Line(label=label, knowledge=sweep.knowledge, xs=sweep.xs, cells=sweep.cells)
        drawn.append((line, marks(line, metric, across), metric))
    drawn = [each for each in drawn if each[1]]
    return board(
        WIDTH,
        HEIGHT,
        _lines_description(sweep, curve),
        frame(across, sweep.ticks, sweep.unit, right),
        *(band(line, found) for line, found, _ in drawn),
        *(
            tag(
                "g",
                tag("path", class_=f"line k-{line.knowledge}", d=path([mark.spot for mark in found])),
                dots(line, metric, across),
                opacity=_rank(at, len(drawn)),
            )
            for at, (line, found, metric) in enumerate(drawn)
        ),
        labels([(line, found) for line, found, _ in drawn]),
    )


def _rank(at: int, of: int) -> float:
    """Lines of one color go from pale to full."""
    return _PALEST + (1 - _PALEST) * (at + 1) / of


def _lines_description(sweep: Sweep, curve: Curve) -> str:
    said = "; ".join(
        f"at {sweep.ticks[x]}: "
        + ", ".join(
            f"{label} {share(cell.metrics[metric], cell.n)}" for label, metric in reversed(list(curve.lines.items()))
        )
        for x, cell in zip(sweep.xs, sweep.cells, strict=True)
    )
    return f"{curve.title} of {sweep.name}, {sweep.attacker}, by eps. {said}."
