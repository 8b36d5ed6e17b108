"""Observed votes beside the bound of independent ones: how far the attacker carries a vote."""

from __future__ import annotations

from math import isfinite

from markupsafe import Markup

from secondlook.audit.report.svg import Scale, board, join, tag
from secondlook.audit.report.words import percent
from secondlook.audit.schema import Cell, Vote

WIDTH, HEIGHT = 320.0, 254.0
TOP, FLOOR = 30.0, 112.0
_FIRST, _ROW, _BAR = 178.0, 30.0, 7.0
ACROSS = Scale(low=0, high=1, start=8, end=WIDTH - 8)
"""Shares from left to right, for the histogram and for the three figures under it."""


def picture(cell: Cell, vote: Vote) -> Markup:
    """Inputs by the share of their votes that the attacker got, and who then won the vote."""
    says = (
        f"{vote.votes} votes: the attacker got {percent(vote.eta, cell.n)} of the votes and won "
        f"{percent(vote.captured, cell.n)} of the inputs; independent votes would give "
        f"{percent(vote.bound, cell.n)} (bound input by input) or "
        f"{percent(vote.pooled_bound, cell.n)} (bound at the mean)."
    )
    drawn = _histogram(vote, f"column won k-{cell.knowledge}")
    return board(WIDTH, HEIGHT, says, drawn, _foot(), _figures(cell, vote))


def excess(vote: Vote) -> float:
    """Observed share of won inputs minus the paper's bound at the mean share of votes."""
    return vote.captured - vote.pooled_bound


def _histogram(vote: Vote, won: str) -> Markup:
    tallest = max([*vote.histogram, 1])
    upright = Scale(low=0, high=tallest, start=FLOOR, end=TOP)
    bins = len(vote.histogram)
    return join(
        _column(count, i / bins, (i + 1) / bins, upright(count), won if 2 * i >= bins else "column")
        for i, count in enumerate(vote.histogram)
        if count
    )


def _column(count: int, low: float, high: float, top: float, kind: str) -> Markup:
    left, right = ACROSS(low), ACROSS(high)
    box = tag(
        "rect", tag("title", f"{count} inputs"), class_=kind,
        x=left + 1.5, y=top, width=right - left - 3, height=FLOOR - top,
    )  # fmt: skip
    middle = (left + right) / 2
    label = tag("text", str(count), class_="tick", text_anchor="middle", x=middle, y=top - 5)
    return join([box, label])


def _foot() -> Markup:
    half = ACROSS(0.5)
    ticks = [
        tag("text", f"{100 * tick:.0f} %", class_="tick", text_anchor=anchor, x=ACROSS(tick),
            y=FLOOR + 16)
        for tick, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
    ]  # fmt: skip
    return join([
        tag("line", class_="axis", x1=ACROSS.start, x2=ACROSS.end, y1=FLOOR, y2=FLOOR),
        tag("line", class_="half", x1=half, x2=half, y1=8, y2=FLOOR),
        tag("text", "half of the votes", class_="dim", x=half + 6, y=16), *ticks,
        tag("text", "inputs, by the attacker’s share of their votes", class_="dim",
            text_anchor="middle", x=WIDTH / 2, y=FLOOR + 35),
    ])  # fmt: skip


def _figures(cell: Cell, vote: Vote) -> Markup:
    figures = (
        ("inputs whose vote the attacker won", vote.captured, f"seen k-{cell.knowledge}"),
        ("if votes were independent", vote.bound, "bound"),
        ("bound at the mean share", vote.pooled_bound, "bound"),
    )
    return join(_figure(i, cell.n, *figure) for i, figure in enumerate(figures))


def _figure(index: int, n: int, name: str, value: float, kind: str) -> Markup:
    top = _FIRST + index * _ROW
    end = ACROSS(min(max(value, 0.0), 1.0)) if isfinite(value) else ACROSS.start
    wide = ACROSS.end - ACROSS.start
    return join([
        tag("text", name, class_="note", x=ACROSS.start, y=top),
        tag("text", percent(value, n), class_="note strong", text_anchor="end", x=ACROSS.end,
            y=top),
        tag("rect", class_="trough", x=ACROSS.start, y=top + 6, width=wide, height=_BAR),
        tag("rect", class_=kind, x=ACROSS.start, y=top + 6, width=end - ACROSS.start,
            height=_BAR),
    ])  # fmt: skip
