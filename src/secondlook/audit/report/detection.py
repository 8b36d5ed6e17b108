"""Detectors: what their suspicions tell apart, what rejecting by them costs, and of what kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from secondlook.audit.detection import USUAL
from secondlook.audit.report.matrix import Block, Group, Row
from secondlook.audit.report.svg import (
    BOTTOM,
    HEIGHT,
    LEFT,
    RIGHT,
    SHARES,
    TOP,
    WIDTH,
    Scale,
    Spot,
    board,
    frame,
    join,
    path,
    tag,
)
from secondlook.audit.report.words import number, percent, share
from secondlook.schema import Detection, Flagged, Histogram, Metric

_EXTREMES = 3
RARE = 1e-3
"""The least false positive rate on the axis."""
ALARMS = Scale(low=RARE, high=1, start=LEFT, end=RIGHT, by_ratio=True)
_TICKS = {0.001: "0.1", 0.01: "1", 0.1: "10", 1.0: "100 %"}
_CHANCE = 25


@dataclass(frozen=True, kw_only=True)
class Detectors:
    """The detectors of one task and model.

    Attributes:
        task: its name.
        model: its name.
        groups: the defenses that reject by a suspicion.
    """

    task: str
    model: str
    groups: list[Group]

    @property
    def rates(self) -> list[str]:
        """The false positive rates that thresholds were set for."""
        every = (rate for group in self.groups for row in rows(group) for rate in of(row).calibrated)
        return list(dict.fromkeys(every))


def detectors(blocks: Sequence[Block]) -> list[Detectors]:
    """Those blocks of the matrix that have detectors, with them alone."""
    found = [
        Detectors(task=block.task, model=block.model, groups=[g for g in block.groups if rows(g)]) for block in blocks
    ]
    return [each for each in found if each.groups]


def rows(group: Group) -> list[Row]:
    """The rows of a defense with a detector."""
    return [row for row in group.rows if row.cell.detection is not None]


def attacked(group: Group) -> list[Row]:
    """Those of them that somebody attacks."""
    return [row for row in rows(group) if of(row).auroc is not None]


def largest(group: Group) -> list[Row]:
    """Of several budgets the rows of the largest."""
    found = attacked(group)
    eps = max((row.cell.threat.eps for row in found), default=0.0)
    return [row for row in found if row.cell.threat.eps == eps]


def of(row: Row) -> Detection:
    """The detection of a row that has one."""
    assert row.cell.detection is not None, f"nothing was detected in {row.name}"
    return row.cell.detection


def difference(metric: Metric) -> str:
    """A difference of two areas, with its sign."""
    return f"{metric.value:+.3f} [{metric.low:+.3f}, {metric.high:+.3f}]"


def extremes(row: Row) -> tuple[list[Flagged], list[Flagged]]:
    """The kinds of input that were rejected least, and those that were rejected most.

    No kind is in both, and none in either where all are alike; of equals the larger come first.
    """
    kinds = sorted(of(row).by_attribute, key=lambda kind: -kind.n)
    if len({kind.flagged.value for kind in kinds}) < 2:
        return [], []
    order = sorted(kinds, key=lambda kind: kind.flagged.value)
    turned = sorted(kinds, key=lambda kind: -kind.flagged.value)
    ends = min(_EXTREMES, len(kinds) // 2)
    return order[:ends], turned[:ends]


def area(row: Row) -> str:
    """The area under the curve in words."""
    found = of(row).auroc
    assert found is not None, f"{row.name} has no curve"
    return f"AUROC {number(found.value)} [{number(found.low)}, {number(found.high)}]"


def suspicions(row: Row) -> Markup:
    """Clean and attacked inputs by their suspicion, with the threshold for 5 % false alarms."""
    found, usual = of(row).histogram, of(row).calibrated.get(USUAL)
    if found is None:
        return Markup()
    line = usual.threshold if usual else found.edges[0]
    across = Scale(low=min(found.edges[0], line), high=max(found.edges[-1], line), start=LEFT, end=RIGHT)
    tallest = max(max(_shares(side)) for side in (found.clean, found.attacked))
    upright = Scale(low=0, high=tallest, start=BOTTOM, end=TOP + 16)
    return board(
        WIDTH,
        HEIGHT,
        _suspicions_description(row, found),
        _ground(across, tallest, upright),
        _outline(found.edges, found.clean, "clean", across, upright),
        _outline(found.edges, found.attacked, row.cell.knowledge, across, upright),
        _limit(across(line)) if usual else "",
    )


def _shares(counts: Sequence[int]) -> list[float]:
    return [count / max(sum(counts), 1) for count in counts]


def _outline(edges: Sequence[float], counts: Sequence[int], knowledge: str, across: Scale, upright: Scale) -> Markup:
    tops = [
        Spot(across(edge), upright(share))
        for sides, share in zip(pairwise(edges), _shares(counts), strict=True)
        for edge in sides
    ]
    ends = [Spot(across(edges[0]), upright(0)), *tops, Spot(across(edges[-1]), upright(0))]
    drawn = path(ends)
    return join(
        [tag("path", class_=f"band k-{knowledge}", d=drawn), tag("path", class_=f"line k-{knowledge}", d=drawn)]
    )


def _ground(across: Scale, tallest: float, upright: Scale) -> Markup:
    places = (across.low, (across.low + across.high) / 2, across.high)
    texts = zip(places, ("start", "middle", "end"), strict=True)
    return join(
        [
            tag("line", class_="axis", x1=LEFT, x2=RIGHT, y1=BOTTOM, y2=BOTTOM),
            tag("text", f"{100 * tallest:.0f} %", class_="tick", text_anchor="end", x=LEFT - 6, y=upright(tallest) + 4),
            *(
                tag("text", number(value), class_="tick", text_anchor=anchor, x=across(value), y=BOTTOM + 17)
                for value, anchor in texts
            ),
            tag("text", "suspicion", class_="dim", text_anchor="middle", x=(LEFT + RIGHT) / 2, y=HEIGHT - 8),
        ]
    )


def _limit(x: float) -> Markup:
    late = x > (LEFT + RIGHT) / 2
    return join(
        [
            tag("line", class_="half", x1=x, x2=x, y1=TOP, y2=BOTTOM),
            tag(
                "text",
                "threshold for 5 %",
                class_="dim",
                text_anchor="end" if late else "start",
                x=x - 6 if late else x + 6,
                y=TOP + 4,
            ),
        ]
    )


def _suspicions_description(row: Row, found: Histogram) -> str:
    low, high = number(found.edges[0]), number(found.edges[-1])
    return (
        f"Suspicion from {low} to {high} in {len(found.clean)} bins. Clean inputs: "
        f"{found.clean}. {row.name}: {found.attacked}."
    )


def roc(row: Row) -> Markup:
    """Attacked inputs rejected against clean ones rejected, which go by ratio; dots are measured.

    A dot stands where a threshold from held-out inputs has led to on these.
    """
    return board(
        WIDTH,
        HEIGHT,
        f"Attacked inputs rejected against false alarms. {row.name}: {area(row)}.",
        frame(ALARMS, _TICKS, "false alarms, on a logarithmic scale"),
        _chance(),
        tag("path", class_=f"line k-{row.cell.knowledge}", d=path(list(_steps(row)))),
        *_dots(row),
    )


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
            "circle",
            tag("title", says),
            class_=f"dot k-{row.cell.knowledge}",
            cx=ALARMS(max(found.fpr.value, RARE)),
            cy=SHARES(found.tpr.value),
            r=4.2,
        )
