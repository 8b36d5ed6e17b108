"""Security curves: the outcomes over the attacker's budget, as areas that fill the whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from secondlook.audit.report.curves import SHARES
from secondlook.audit.report.frame import HEIGHT, LEFT, RIGHT, WIDTH, frame
from secondlook.audit.report.svg import Scale, Spot, board, join, path, tag
from secondlook.audit.report.sweeps import Line, panels
from secondlook.audit.report.words import level, percent
from secondlook.audit.schema import Cell, ThreatRow

STACK = ("correct", "rejected", "wrong")
"""From the bottom up: what is kept, what is refused, what is lost."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One attack on one defence, from no change at all to the largest budget.

    Attributes:
        name: what the defence is called.
        attacker: and who attacks.
        knowledge: what they know; it chooses the colour.
        xs: budgets, rising from 0.
        cells: the rows, the clean one first.
    """

    name: str
    attacker: str
    knowledge: str
    xs: tuple[float, ...]
    cells: tuple[Cell, ...]


def swept(cells: Sequence[Cell], metrics: Sequence[str]) -> list[Curve]:
    """Every attack that was tried at several budgets, where all rows have these metrics."""
    found = [
        _curve(panel.name, line, cells)
        for panel in panels(cells)
        if panel.axis == "eps"
        for line in panel.lines
    ]
    return [c for c in found if all(name in cell.metrics for name in metrics for cell in c.cells)]


def curves(cells: Sequence[Cell]) -> list[Curve]:
    """Those where any wrong answer is a success."""
    return swept(cells, STACK)


def _curve(name: str, line: Line, cells: Sequence[Cell]) -> Curve:
    first = line.cells[0]
    clean = [
        cell for cell in cells
        if cell.knowledge == "clean" and (cell.task, cell.model) == (first.task, first.model)
        and cell.settings.get("defence") == first.settings.get("defence")
        and cell.defence == first.defence
    ][:1]  # fmt: skip
    return Curve(
        name=name, attacker=line.label, knowledge=line.knowledge,
        xs=(*(0.0 for _ in clean), *line.xs), cells=(*clean, *line.cells),
    )  # fmt: skip


def picture(curve: Curve) -> Markup:
    """The shares of the outcomes against eps, stacked."""
    across = Scale(low=curve.xs[0], high=curve.xs[-1], start=LEFT, end=RIGHT)
    ticks, unit = budgets(curve)
    areas = [_area(curve, across, i) for i in range(len(STACK))]
    return board(
        WIDTH, HEIGHT, _told(curve, ticks), *areas, frame(across, ticks, unit),
        *(_stripe(curve, across, i) for i in range(len(curve.xs))),
    )  # fmt: skip


def budgets(curve: Curve) -> tuple[dict[float, str], str]:
    """The ticks of the axis of a curve, and what it measures."""
    norm = curve.cells[-1].threat.norm
    unit = "eps, L∞, in 1/255" if norm == "linf" else f"eps, {norm.upper()}, in pixel units"
    return {x: level(ThreatRow(norm=norm, eps=x)) for x in curve.xs}, unit


def _height(cell: Cell, upto: int) -> float:
    return min(1.0, sum(cell.metrics[name].value for name in STACK[:upto]))


def _area(curve: Curve, across: Scale, index: int) -> Markup:
    points = list(zip(curve.xs, curve.cells, strict=True))
    top = [Spot(across(x), SHARES(_height(cell, index + 1))) for x, cell in points]
    floor = [Spot(across(x), SHARES(_height(cell, index))) for x, cell in reversed(points)]
    return tag("path", class_=f"o-{STACK[index]}", d=path(top + floor, close=True))


def _stripe(curve: Curve, across: Scale, index: int) -> Markup:
    """A line at a budget that was tried, which says its figures."""
    x = across(curve.xs[index])
    says = tag("title", _figures(curve.cells[index]))
    drawn = tag("line", class_="tried", x1=x, x2=x, y1=SHARES(0), y2=SHARES(1))
    return tag("g", says, join([drawn]))


def _figures(cell: Cell) -> str:
    return ", ".join(f"{percent(cell.metrics[name].value, cell.n)} {name}" for name in STACK)


def _told(curve: Curve, ticks: dict[float, str]) -> str:
    said = (
        f"at {ticks[x]}: {_figures(cell)}" for x, cell in zip(curve.xs, curve.cells, strict=True)
    )
    return f"Outcomes of {curve.name}, {curve.attacker}, by eps. {'; '.join(said)}."
