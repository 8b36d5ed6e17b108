"""Resubmission: the chance that one of k tries with an input gets through, beside that of inputs that are all alike."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from secondlook.audit.report.matrix import Block, Group, Row
from secondlook.audit.report.svg import HEIGHT, LEFT, RIGHT, SHARES, WIDTH, Scale, Spot, board, frame, path, tag
from secondlook.audit.report.words import carried, ends, percent
from secondlook.schema import Cell, Metric, Resubmission


def resubmitted(blocks: Sequence[Block]) -> list[tuple[Group, list[Row]]]:
    """The defenses with attacked rows that were sent again."""
    found = [
        (group, [row for row in group.rows if row.cell.resubmission]) for block in blocks for group in block.groups
    ]
    return [(group, rows) for group, rows in found if rows]


def sent_again(cell: Cell) -> Markup:
    """The chance that at least one of k tries gets through, k by ratio; dashed, were all inputs alike."""
    found = _of(cell)
    across = Scale(low=1, high=max(found.tries, 2), start=LEFT, end=RIGHT, by_ratio=True)

    def line(shares: Sequence[float]) -> list[Spot]:
        return [Spot(across(k), SHARES(share)) for k, share in enumerate(shares, start=1)]

    around = [*line(found.high), *reversed(line(found.low))]
    return board(
        WIDTH,
        HEIGHT,
        f"At least one of k tries gets through. {sentence(cell)}",
        frame(across, {k: f"{k:.0f}" for k in _ticks(found.tries)}, "tries with the same input"),
        tag("path", class_=f"band k-{cell.knowledge}", d=path(around, close=True)),
        tag("path", tag("title", "were all inputs alike"), class_="half", fill="none", d=path(line(found.independent))),
        tag("path", class_=f"line k-{cell.knowledge}", d=path(line(found.chance))),
        *(_dot(cell, found, int(k), across) for k in _ticks(found.tries)),
    )


def sentence(cell: Cell) -> str:
    """The ends of the curve in words."""
    found = _of(cell)
    one, some = (_chance(cell, found, k) for k in (1, found.tries))
    alike = percent(found.independent[-1], cell.n)
    said = f"One try: {one}; at least one of {found.tries}: {some}, were all inputs alike {alike}."
    return said.replace(" %", "\N{NO-BREAK SPACE}%")


def _of(cell: Cell) -> Resubmission:
    assert cell.resubmission is not None, f"nothing of {cell.id} was sent again"
    return cell.resubmission


def _ticks(tries: int) -> list[float]:
    """The powers of two up to the number of tries."""
    return [float(2**power) for power in range(tries.bit_length())]


def _chance(cell: Cell, found: Resubmission, k: int) -> str:
    at = k - 1
    metric = Metric(value=found.chance[at], low=found.low[at], high=found.high[at])
    return f"{percent(metric.value, cell.n)} {ends(metric, carried(cell.n))}"


def _dot(cell: Cell, found: Resubmission, k: int, across: Scale) -> Markup:
    says = f"{k} tries: {_chance(cell, found, k)}, were all inputs alike {percent(found.independent[k - 1], cell.n)}"
    at = Spot(across(k), SHARES(found.chance[k - 1]))
    return tag("circle", tag("title", says), class_=f"dot k-{cell.knowledge}", cx=at.x, cy=at.y, r=3.2)
