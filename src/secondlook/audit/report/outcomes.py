"""Bars of outcomes: how many samples of each row were answered right, wrong, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from secondlook.audit.report.names import attacker_name
from secondlook.audit.report.svg import board, join, tag
from secondlook.audit.schema import Cell

WIDTH, ROW, BAR = 320.0, 40.0, 15.0
_TEXT, _TOP = 13.0, 20.0
_FITS = 7.5
_LONGEST = 34
"""Letters of a name that fit beside the number of samples."""
KINDS = ("correct", "wrong", "rejected")


class Segment(NamedTuple):
    """A part of a bar: so many samples, from ``x`` on, ``width`` wide."""

    kind: str
    samples: int
    x: float
    width: float


def segments(cell: Cell, width: float = WIDTH) -> list[Segment]:
    """The bar of a row, cut by outcome; nothing where there were no samples."""
    counts = [getattr(cell.outcomes, kind) for kind in KINDS]
    total, found, x = sum(counts), [], 0.0
    for kind, count in zip(KINDS, counts, strict=True):
        if count:
            wide = width * count / total
            found.append(Segment(kind, count, x, wide))
            x += wide
    return found


def bars(cells: Sequence[Cell], everyone: Sequence[Cell]) -> Markup:
    """One bar for each row of a defence, under the name of its attacker."""
    rows = [_row(i, cell, attacker_name(cell, everyone)) for i, cell in enumerate(cells)]
    told = "; ".join(
        f"{attacker_name(cell, everyone)}: "
        + ", ".join(f"{part.samples} {part.kind}" for part in segments(cell))
        for cell in cells
    )
    return board(WIDTH, ROW * len(cells) - 3, f"Outcomes. {told}", *rows)


def _row(index: int, cell: Cell, name: str) -> Markup:
    top = index * ROW
    return join([
        tag("text", _cut(name), tag("title", name), class_=f"label k-{cell.knowledge}",
            x=0, y=top + _TEXT),
        tag("text", f"n = {cell.n}", class_="dim", text_anchor="end", x=WIDTH, y=top + _TEXT),
        *(_segment(part, top + _TOP) for part in segments(cell)),
    ])  # fmt: skip


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1].rstrip(' ·')}…"


def _segment(part: Segment, top: float) -> Markup:
    says = tag("title", f"{part.samples} {part.kind}")
    wide = max(part.width - 1.5, 0.8)
    drawn = tag("rect", says, class_=f"o-{part.kind}", x=part.x, y=top, width=wide, height=BAR)
    if part.width < _FITS * len(str(part.samples)) + 8:
        return drawn
    count = tag("text", str(part.samples), class_=f"on-{part.kind}", x=part.x + 5, y=top + 11.5)
    return join([drawn, count])
