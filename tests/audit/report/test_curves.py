"""Charts stand where arithmetic puts them."""

import math
import re

import pytest

from secondlook.audit.report import curves
from secondlook.audit.report.svg import Scale, axis, spread
from secondlook.audit.report.sweeps import panels
from secondlook.audit.schema import Metric

UPRIGHT = curves.BOTTOM - curves.TOP


def swept(make_cell, values):
    cells = [
        make_cell("adaptive", 0, 1, eps=eps / 255, metrics={"target_top1": metric})
        for eps, metric in values.items()
    ]
    return panels(cells)[0]


def test_marks_stand_where_they_should(make_cell) -> None:
    panel = swept(make_cell, {
        2: Metric(value=0.0, low=0.0, high=0.5), 4: Metric(value=0.25, low=0.0, high=1.0),
        6: Metric(value=1.0, low=0.75, high=1.0),
    })  # fmt: skip
    across = Scale(low=2 / 255, high=6 / 255, start=100, end=300)
    marks = curves.marks(panel.lines[0], "target_top1", across)
    assert [mark.spot.x for mark in marks] == pytest.approx([100, 200, 300])
    bottom, top = curves.BOTTOM, curves.TOP
    assert [mark.spot.y for mark in marks] == [bottom, bottom - UPRIGHT / 4, top]
    assert [mark.high.y for mark in marks] == [bottom - UPRIGHT / 2, top, top]
    assert [mark.low.y for mark in marks] == [bottom, bottom, bottom - 0.75 * UPRIGHT]


def test_the_path_goes_through_the_marks(make_cell) -> None:
    panel = swept(make_cell, {2: Metric(value=0.5, low=0.4, high=0.6),
                              4: Metric(value=1.0, low=0.9, high=1.0)})  # fmt: skip
    drawn = curves.chart(panel, "target_top1")
    right = curves.WIDTH - curves.INSET - 8 - 6.6 * len("adaptive")
    expected = f"M50 101 L{right:.1f} 12"
    assert f'class="line k-adaptive" d="{expected}"' in drawn
    assert drawn.count("<circle") == 2
    assert "adaptive: 2 gives 50 % [40, 60], 4 gives 100 % [90, 100]" in drawn


def test_what_is_not_a_number_is_left_out(make_cell) -> None:
    holes = {2: Metric(value=math.nan, low=math.nan, high=math.nan),
             4: Metric(value=0.5, low=-math.inf, high=math.inf),
             8: Metric(value=0.6, low=0.5, high=0.7)}  # fmt: skip
    drawn = curves.chart(swept(make_cell, holes), "target_top1")
    assert drawn.count("<circle") == 2
    assert not re.search(r"\b(nan|inf)\b", drawn)
    assert "<circle" not in curves.chart(swept(make_cell, holes), "no_such_metric")


def test_an_axis_goes_by_ratio_where_ticks_would_crowd() -> None:
    even, doubling = axis([2, 4, 6], 0, 100), axis([1, 2, 4, 8, 16, 32], 0, 100)
    assert not even.by_ratio
    assert even(4) == 50
    assert doubling.by_ratio
    assert [doubling(x) for x in (1, 4, 32)] == pytest.approx([0, 40, 100])
    assert axis([7], 0, 100)(7) == 50


def test_labels_keep_their_distance_and_stay_on_the_board() -> None:
    places = spread([98.0, 99.0, 5.0, 97.0], gap=10, low=0, high=100)
    assert places == [90.0, 100.0, 5.0, 80.0]
