"""Pictures of a detector: how suspicions spread, and what rejecting by them catches and costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from markupsafe import Markup

from secondlook.audit.detection import USUAL
from secondlook.audit.report.curves import BOTTOM, SHARES, TOP
from secondlook.audit.report.detection import area, of
from secondlook.audit.report.frame import HEIGHT, LEFT, RIGHT, WIDTH, frame
from secondlook.audit.report.svg import Scale, Spot, board, join, path, tag
from secondlook.audit.report.tables import Row
from secondlook.audit.report.words import number, percent, share
from secondlook.audit.schema_detection import Histogram

RARE = 1e-3
"""The least false positive rate on the axis."""
ALARMS = Scale(low=RARE, high=1, start=LEFT, end=RIGHT, by_ratio=True)
_TICKS = {0.001: "0.1", 0.01: "1", 0.1: "10", 1.0: "100 %"}
_CHANCE = 25


def spread(row: Row) -> Markup:
    """Clean and attacked inputs by their suspicion, with the threshold for 5 % false alarms."""
    found, usual = of(row).histogram, of(row).calibrated.get(USUAL)
    if found is None:
        return Markup()
    line = usual.threshold if usual else found.edges[0]
    across = Scale(
        low=min(found.edges[0], line), high=max(found.edges[-1], line), start=LEFT, end=RIGHT
    )
    tallest = max(max(_shares(side)) for side in (found.clean, found.attacked))
    upright = Scale(low=0, high=tallest, start=BOTTOM, end=TOP + 16)
    return board(
        WIDTH, HEIGHT, _spread_told(row, found), _floor(across, tallest, upright),
        _outline(found.edges, found.clean, "clean", across, upright),
        _outline(found.edges, found.attacked, row.cell.knowledge, across, upright),
        _limit(across(line)) if usual else "",
    )  # fmt: skip


def _shares(counts: Sequence[int]) -> list[float]:
    return [count / max(sum(counts), 1) for count in counts]


def _outline(
    edges: Sequence[float], counts: Sequence[int], knowledge: str, across: Scale, upright: Scale
) -> Markup:
    tops = [
        Spot(across(edge), upright(share))
        for sides, share in zip(pairwise(edges), _shares(counts), strict=True)
        for edge in sides
    ]
    ends = [Spot(across(edges[0]), upright(0)), *tops, Spot(across(edges[-1]), upright(0))]
    drawn = path(ends)
    return join([
        tag("path", class_=f"band k-{knowledge}", d=drawn),
        tag("path", class_=f"line k-{knowledge}", d=drawn),
    ])  # fmt: skip


def _floor(across: Scale, tallest: float, upright: Scale) -> Markup:
    places = (across.low, (across.low + across.high) / 2, across.high)
    texts = zip(places, ("start", "middle", "end"), strict=True)
    return join([
        tag("line", class_="axis", x1=LEFT, x2=RIGHT, y1=BOTTOM, y2=BOTTOM),
        tag("text", f"{100 * tallest:.0f} %", class_="tick", text_anchor="end", x=LEFT - 6,
            y=upright(tallest) + 4),
        *(tag("text", number(value), class_="tick", text_anchor=anchor, x=across(value),
              y=BOTTOM + 17) for value, anchor in texts),
        tag("text", "suspicion", class_="dim", text_anchor="middle", x=(LEFT + RIGHT) / 2,
            y=HEIGHT - 8),
    ])  # fmt: skip


def _limit(x: float) -> Markup:
    late = x > (LEFT + RIGHT) / 2
    return join([
        tag("line", class_="half", x1=x, x2=x, y1=TOP, y2=BOTTOM),
        tag("text", "threshold for 5 %", class_="dim", text_anchor="end" if late else "start",
            x=x - 6 if late else x + 6, y=TOP + 4),
    ])  # fmt: skip


def _spread_told(row: Row, found: Histogram) -> str:
    low, high = number(found.edges[0]), number(found.edges[-1])
    return (
        f"Suspicion from {low} to {high} in {len(found.clean)} bins. Clean inputs: "
        f"{found.clean}. {row.name}: {found.attacked}."
    )


def curve(row: Row) -> Markup:
    """Attacked inputs rejected against clean ones rejected, which go by ratio; dots are measured.

    A dot stands where a threshold from held-out inputs has led to on these.
    """
    return board(
        WIDTH, HEIGHT, f"Attacked inputs rejected against false alarms. {row.name}: {area(row)}.",
        frame(ALARMS, _TICKS, "false alarms, on a logarithmic scale"), _chance(),
        tag("path", class_=f"line k-{row.cell.knowledge}", d=path(list(_steps(row)))),
        *_dots(row),
    )  # fmt: skip


def _steps(row: Row) -> Iterator[Spot]:
    found = of(row).roc
    assert found is not None, f"{row.name} has no curve"
    height = 0.0
    for rate, caught in zip(found.fpr, found.tpr, strict=True):
        x = ALARMS(max(rate, RARE))
        if rate > RARE:
            yield Spot(x, SHARES(height))
        height = caught
        yield Spot(x, SHARES(height))
    yield Spot(ALARMS(1), SHARES(height))


def _chance() -> Markup:
    rates = [RARE ** (1 - step / (_CHANCE - 1)) for step in range(_CHANCE)]
    spots = [Spot(ALARMS(rate), SHARES(rate)) for rate in rates]
    return tag("path", tag("title", "chance"), class_="half", fill="none", d=path(spots))


def _dots(row: Row) -> Iterator[Markup]:
    for rate, found in of(row).calibrated.items():
        if found.tpr is None:
            continue
        says = (
            f"set for {percent(float(rate), 100)}: {share(found.tpr, row.cell.n)} caught, "
            f"{percent(found.fpr.value, row.cell.n)} false alarms"
        )
        yield tag(
            "circle", tag("title", says), class_=f"dot k-{row.cell.knowledge}",
            cx=ALARMS(max(found.fpr.value, RARE)), cy=SHARES(found.tpr.value), r=4.2,
        )  # fmt: skip
