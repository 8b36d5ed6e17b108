"""The frame of a small chart: shares upwards, a measure across."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from secondlook.audit.report.curves import BOTTOM, SHARES
from secondlook.audit.report.svg import Scale, join, tag

WIDTH, HEIGHT = 320.0, 236.0
LEFT, RIGHT = 42.0, WIDTH - 10
_ROOM = 24.0


def frame(across: Scale, ticks: Mapping[float, str], title: str, right: float = RIGHT) -> Markup:
    """Rules at the halves, ticks below, and what is measured; what would overlap is left out."""
    rules = [
        tag("line", class_="rule", x1=LEFT, x2=right, y1=SHARES(share), y2=SHARES(share))
        for share in (0.0, 0.5, 1.0)
    ]
    heights = [
        tag("text", text, class_="tick", text_anchor="end", x=LEFT - 6, y=SHARES(share) + 4)
        for share, text in ((0.0, "0"), (0.5, "50"), (1.0, "100 %"))
    ]
    legend = tag(
        "text", title, class_="dim", text_anchor="middle", x=(LEFT + right) / 2, y=HEIGHT - 8
    )
    return join([*rules, *heights, *_ticks(across, ticks), legend])


def _ticks(across: Scale, ticks: Mapping[float, str]) -> list[Markup]:
    drawn, free = [], LEFT - _ROOM
    for value in sorted(ticks):
        if across(value) >= free:
            drawn.append(tag(
                "text", ticks[value], class_="tick", text_anchor="middle", x=across(value),
                y=BOTTOM + 17,
            ))  # fmt: skip
            free = across(value) + _ROOM
    return drawn
