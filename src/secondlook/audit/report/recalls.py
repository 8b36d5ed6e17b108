"""Curves of recall: R@1, R@5 and R@10 over the attacker's budget, a chart for each direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from secondlook.audit.report import curves, security
from secondlook.audit.report.curves import HEIGHT, LEFT, WIDTH
from secondlook.audit.report.frame import frame
from secondlook.audit.report.security import Curve
from secondlook.audit.report.svg import Scale, board, path, tag
from secondlook.audit.report.sweeps import Line
from secondlook.audit.report.words import share
from secondlook.audit.schema import Cell

WAYS: Final = ("image_to_text", "text_to_image")
CUTS: Final = (10, 5, 1)
"""From the top down, as their lines stand."""
_STRENGTH: Final = {1: 1.0, 5: 0.7, 10: 0.45}
_RIGHT = WIDTH - 52


def recalls(cells: Sequence[Cell]) -> list[Curve]:
    """Every attack on searches that was tried at several budgets."""
    return security.swept(cells, [f"{way}_r{k}" for way in WAYS for k in CUTS])


def picture(curve: Curve, way: str) -> Markup:
    """R@k of one direction against eps, with 95 % intervals; without a change at the left."""
    across = Scale(low=curve.xs[0], high=curve.xs[-1], start=LEFT, end=_RIGHT)
    ticks, unit = security.budgets(curve)
    lines = {k: _line(curve, k) for k in CUTS}
    marks = {k: curves.marks(line, f"{way}_r{k}", across) for k, line in lines.items()}
    drawn = {k: line for k, line in lines.items() if marks[k]}
    strokes = [
        _stroke(line, marks[k], f"{way}_r{k}", across, _STRENGTH[k]) for k, line in drawn.items()
    ]
    return board(
        WIDTH, HEIGHT, _told(curve, way, ticks), frame(across, ticks, unit, _RIGHT),
        *(curves.band(line, marks[k]) for k, line in drawn.items()),
        *strokes,
        curves.labels([(line, marks[k]) for k, line in drawn.items()]),
    )  # fmt: skip


def _line(curve: Curve, k: int) -> Line:
    return Line(label=f"R@{k}", knowledge=curve.knowledge, xs=curve.xs, cells=curve.cells)


def _stroke(
    line: Line, marks: list[curves.Mark], metric: str, across: Scale, strength: float
) -> Markup:
    drawn = tag("path", class_=f"line k-{line.knowledge}", d=path([mark.spot for mark in marks]))
    return tag("g", drawn, curves.dots(line, metric, across), opacity=strength)


def _told(curve: Curve, way: str, ticks: dict[float, str]) -> str:
    said = [
        f"at {ticks[x]}: " + ", ".join(
            f"R@{k} {share(cell.metrics[f'{way}_r{k}'], cell.n)}" for k in CUTS
        )
        for x, cell in zip(curve.xs, curve.cells, strict=True)
    ]  # fmt: skip
    towards = way.replace("_", " ")
    return f"Recall {towards} of {curve.name}, {curve.attacker}, by eps. {'; '.join(said)}."
