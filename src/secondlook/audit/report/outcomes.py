"""Charts of outcomes: bars of each row, votes beside their bound, and risk against coverage."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import NamedTuple

from markupsafe import Markup

from secondlook.audit.report.matrix import Group, Row, attacker_name
from secondlook.audit.report.svg import HEIGHT, LEFT, RIGHT, SHARES, WIDTH, Scale, Spot, board, frame, join, path, tag
from secondlook.audit.report.words import percent
from secondlook.schema import Cell, Vote
from secondlook.tasks.view import view_of

KINDS = ("correct", "wrong", "rejected")
ROW, BAR = 40.0, 15.0
_TEXT, _TOP, _FITS = 13.0, 20.0, 7.5
_LONGEST = 34
"""Letters of a name that fit beside the number of samples."""
VOTE_HEIGHT, PEAK, GROUND = 254.0, 30.0, 112.0
"""Of a picture of votes: its height, and where the columns of its histogram end and begin."""
_FIRST, _STEP, _THICK = 178.0, 30.0, 7.0
ACROSS = Scale(low=0, high=1, start=8, end=WIDTH - 8)
"""Shares from left to right, for the histogram and for the three figures under it."""
COVERAGE = Scale(low=0, high=1, start=LEFT, end=RIGHT)


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
    """One bar for each row of a defense, under the name of its attacker."""
    rows = [_row(i, cell, attacker_name(cell, everyone)) for i, cell in enumerate(cells)]
    said = "; ".join(f"{attacker_name(cell, everyone)}: {_counted(cell)}" for cell in cells)
    return board(WIDTH, ROW * len(cells) - 3, f"Outcomes. {said}", *rows)


def _counted(cell: Cell) -> str:
    return ", ".join(f"{part.samples} {_title(part.kind, cell)}" for part in segments(cell))


def titles(cells: Sequence[Cell]) -> dict[str, str]:
    """What the tasks of some rows call each outcome."""
    return {kind: " or ".join(dict.fromkeys(_title(kind, cell) for cell in cells)) for kind in KINDS}


def _title(kind: str, cell: Cell) -> str:
    return view_of(cell.task).column(kind).title


def key(cells: Sequence[Cell]) -> Markup:
    """What the colors of the bars of some rows are."""
    return join(
        tag(
            "g",
            tag("rect", class_=f"o-{kind}", x=at * 90, y=2, width=14, height=11),
            tag("text", title, class_="tick", x=at * 90 + 20, y=12),
        )
        for at, (kind, title) in enumerate(titles(cells).items())
    )


def _row(index: int, cell: Cell, name: str) -> Markup:
    top = index * ROW
    return join(
        [
            tag("text", _cut(name), tag("title", name), class_=f"label k-{cell.knowledge}", x=0, y=top + _TEXT),
            tag("text", f"n = {cell.n}", class_="dim", text_anchor="end", x=WIDTH, y=top + _TEXT),
            *(_segment(part, _title(part.kind, cell), top + _TOP) for part in segments(cell)),
        ]
    )


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1].rstrip(' ·')}…"


def _segment(part: Segment, title: str, top: float) -> Markup:
    says = tag("title", f"{part.samples} {title}")
    wide = max(part.width - 1.5, 0.8)
    drawn = tag("rect", says, class_=f"o-{part.kind}", x=part.x, y=top, width=wide, height=BAR)
    if part.width < _FITS * len(str(part.samples)) + 8:
        return drawn
    count = tag("text", str(part.samples), class_=f"on-{part.kind}", x=part.x + 5, y=top + 11.5)
    return join([drawn, count])


def votes(cell: Cell, vote: Vote) -> Markup:
    """Inputs by the share of their votes that the attacker got, and who then won the vote."""
    says = (
        f"{vote.votes} votes: the attacker got {percent(vote.eta, cell.n)} of the votes and won "
        f"{percent(vote.captured, cell.n)} of the inputs; independent votes would give "
        f"{percent(vote.bound, cell.n)} (bound input by input) or "
        f"{percent(vote.pooled_bound, cell.n)} (bound at the mean)."
    )
    drawn = _histogram(vote, f"column won k-{cell.knowledge}")
    return board(WIDTH, VOTE_HEIGHT, says, drawn, _ground(), _shares_of(cell, vote))


def excess(vote: Vote) -> float:
    """Observed share of won inputs minus the paper's bound at the mean share of votes."""
    return vote.captured - vote.pooled_bound


def _histogram(vote: Vote, won: str) -> Markup:
    tallest = max([*vote.histogram, 1])
    upright = Scale(low=0, high=tallest, start=GROUND, end=PEAK)
    bins = len(vote.histogram)
    return join(
        _column(count, i / bins, (i + 1) / bins, upright(count), won if 2 * i >= bins else "column")
        for i, count in enumerate(vote.histogram)
        if count
    )


def _column(count: int, low: float, high: float, top: float, kind: str) -> Markup:
    left, right = ACROSS(low), ACROSS(high)
    box = tag(
        "rect",
        tag("title", f"{count} inputs"),
        class_=kind,
        x=left + 1.5,
        y=top,
        width=right - left - 3,
        height=GROUND - top,
    )
    middle = (left + right) / 2
    label = tag("text", str(count), class_="tick", text_anchor="middle", x=middle, y=top - 5)
    return join([box, label])


def _ground() -> Markup:
    half = ACROSS(0.5)
    ticks = [
        tag("text", f"{100 * tick:.0f} %", class_="tick", text_anchor=anchor, x=ACROSS(tick), y=GROUND + 16)
        for tick, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end"))
    ]
    return join(
        [
            tag("line", class_="axis", x1=ACROSS.start, x2=ACROSS.end, y1=GROUND, y2=GROUND),
            tag("line", class_="half", x1=half, x2=half, y1=8, y2=GROUND),
            tag("text", "half of the votes", class_="dim", x=half + 6, y=16),
            *ticks,
            tag(
                "text",
                "inputs, by the attacker’s share of their votes",
                class_="dim",
                text_anchor="middle",
                x=WIDTH / 2,
                y=GROUND + 35,
            ),
        ]
    )


def _shares_of(cell: Cell, vote: Vote) -> Markup:
    figures = (
        ("inputs whose vote the attacker won", vote.captured, f"seen k-{cell.knowledge}"),
        ("if votes were independent", vote.bound, "bound"),
        ("bound at the mean share", vote.pooled_bound, "bound"),
    )
    return join(_share_of(i, cell.n, *figure) for i, figure in enumerate(figures))


def _share_of(index: int, n: int, name: str, value: float, kind: str) -> Markup:
    top = _FIRST + index * _STEP
    end = ACROSS(min(max(value, 0.0), 1.0)) if isfinite(value) else ACROSS.start
    wide = ACROSS.end - ACROSS.start
    return join(
        [
            tag("text", name, class_="note", x=ACROSS.start, y=top),
            tag("text", percent(value, n), class_="note strong", text_anchor="end", x=ACROSS.end, y=top),
            tag("rect", class_="trough", x=ACROSS.start, y=top + 6, width=wide, height=_THICK),
            tag("rect", class_=kind, x=ACROSS.start, y=top + 6, width=end - ACROSS.start, height=_THICK),
        ]
    )


def risky(group: Group) -> bool:
    """Whether the defense has a suspicion that tells inputs apart, and answers were asked for."""
    spreads = [
        cell.metrics["suspicion"].sd for cell in group.cells if cell.risk is not None and "suspicion" in cell.metrics
    ]
    return any(spreads)


def risks(group: Group) -> Markup:
    """A line for each row, and a dot where the defense itself draws the line.

    Of several budgets only the largest is drawn, beside no attack at all.
    """
    eps = max(cell.threat.eps for cell in group.cells)
    rows = [row for row in group.rows if row.cell.risk is not None and row.cell.threat.eps in (0.0, eps)]
    said = "; ".join(f"{row.name}: {_accepts(row)}" for row in rows)
    wrong = titles(group.cells)["wrong"].capitalize()
    return board(
        WIDTH,
        HEIGHT,
        f"{wrong} answers among the accepted, by the share accepted. {said}.",
        frame(COVERAGE, {0.0: "0", 0.5: "50", 1.0: "100 %"}, "coverage: accepted inputs"),
        *(_risk_line(row) for row in rows),
        *(_risk_dot(row) for row in rows if "selective_accuracy" in row.cell.metrics),
    )


def _risk_line(row: Row) -> Markup:
    risk = row.cell.risk
    assert risk is not None, "a row without risks has no line"
    spots = [Spot(COVERAGE(x), SHARES(y)) for x, y in zip(risk.coverage, risk.risk, strict=True)]
    return tag("path", class_=f"line k-{row.cell.knowledge}", d=path(spots))


def _risk_dot(row: Row) -> Markup:
    accepted, right = (row.cell.metrics[name].value for name in ("coverage", "selective_accuracy"))
    return tag(
        "circle",
        tag("title", f"{row.name}: {_accepts(row)}"),
        class_=f"dot k-{row.cell.knowledge}",
        cx=COVERAGE(accepted),
        cy=SHARES(1 - right),
        r=4.2,
    )


def _accepts(row: Row) -> str:
    metrics, n = row.cell.metrics, row.cell.n
    if "selective_accuracy" not in metrics:
        return "accepts nothing"
    wrong = percent(1 - metrics["selective_accuracy"].value, n)
    return f"accepts {percent(metrics['coverage'].value, n)}, {wrong} of that {_title('wrong', row.cell)}"
