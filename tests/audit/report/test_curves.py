"""Charts stand where arithmetic puts them, and join rows that differ in one value alone."""

import math
import re

import pytest

from secondlook.audit.report import curves
from secondlook.audit.report.curves import panels
from secondlook.audit.report.svg import BOTTOM, TOP, Scale, axis, spread
from secondlook.schema import Metric
from secondlook.tasks.view import PLAIN

UPRIGHT = BOTTOM - TOP


def swept(make_cell, values):
    cells = [
        make_cell("adaptive", 0, 1, eps=eps / 255, metrics={"target_top1": metric}) for eps, metric in values.items()
    ]
    return panels(cells)[0]


def test_marks_stand_where_they_should(make_cell) -> None:
    panel = swept(
        make_cell,
        {
            2: Metric(value=0.0, low=0.0, high=0.5),
            4: Metric(value=0.25, low=0.0, high=1.0),
            6: Metric(value=1.0, low=0.75, high=1.0),
        },
    )
    across = Scale(low=2 / 255, high=6 / 255, start=100, end=300)
    marks = curves.marks(panel.lines[0], "target_top1", across)
    assert [mark.spot.x for mark in marks] == pytest.approx([100, 200, 300])
    assert [mark.spot.y for mark in marks] == [BOTTOM, BOTTOM - UPRIGHT / 4, TOP]
    assert [mark.high.y for mark in marks] == [BOTTOM - UPRIGHT / 2, TOP, TOP]
    assert [mark.low.y for mark in marks] == [BOTTOM, BOTTOM, BOTTOM - 0.75 * UPRIGHT]


def test_the_path_goes_through_the_marks(make_cell) -> None:
    panel = swept(make_cell, {2: Metric(value=0.5, low=0.4, high=0.6), 4: Metric(value=1.0, low=0.9, high=1.0)})
    drawn = curves.chart(panel, PLAIN.column("target_top1"))
    right = curves.WIDTH - curves.INSET - 8 - 6.6 * len("adaptive")
    expected = f"M50 101 L{right:.1f} 12"
    assert f'class="line k-adaptive" d="{expected}"' in drawn
    assert drawn.count("<circle") == 2
    assert "adaptive: 2 gives 50 % [40, 60], 4 gives 100 % [90, 100]" in drawn


def test_what_is_not_a_number_is_left_out(make_cell) -> None:
    holes = {
        2: Metric(value=math.nan, low=math.nan, high=math.nan),
        4: Metric(value=0.5, low=-math.inf, high=math.inf),
        8: Metric(value=0.6, low=0.5, high=0.7),
    }
    drawn = curves.chart(swept(make_cell, holes), PLAIN.column("target_top1"))
    assert drawn.count("<circle") == 2
    assert not re.search(r"\b(nan|inf)\b", drawn)
    assert "<circle" not in curves.chart(swept(make_cell, holes), PLAIN.column("no_such_metric"))


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


def test_a_grid_gives_one_line_for_each_value_of_the_other_axis(make_cell) -> None:
    cells = [make_cell("oblivious", 0.1, 0.9, eps=eps / 255, steps=steps) for eps in (8, 2, 4) for steps in (300, 10)]
    against_eps, against_steps = panels(cells)
    assert against_eps.axis == "eps"
    assert [line.label for line in against_eps.lines] == ["300 steps", "10 steps"]
    assert [x * 255 for x in against_eps.lines[0].xs] == [2, 4, 8]
    assert against_eps.knowledge == "oblivious"
    assert against_steps.axis == "steps"
    assert [line.xs for line in against_steps.lines] == [(10, 300)] * 3
    assert {line.label for line in against_steps.lines} == {"L∞ 2/255", "L∞ 4/255", "L∞ 8/255"}


def test_votes_are_swept_for_every_attacker_even_under_other_labels(make_cell) -> None:
    cells = [
        make_cell(knowledge, 0.1, 0.9, samples=n, defense=f"consensus scenes:vae {n}")
        for n in (10, 1, 5)
        for knowledge in ("clean", "oblivious", "adaptive")
    ]
    (panel,) = panels(cells)
    assert (panel.axis, panel.name, panel.knowledge) == ("samples", "consensus scenes:vae", "")
    assert [line.label for line in panel.lines] == ["clean", "oblivious", "adaptive"]
    assert all(line.xs == (1, 5, 10) for line in panel.lines)


def test_cells_that_differ_in_more_make_no_curve(make_cell) -> None:
    assert panels([make_cell("oblivious", 0, 1)]) == []
    assert (
        panels(
            [
                make_cell("oblivious", 0, 1, eps=2 / 255, steps=10),
                make_cell("oblivious", 0, 1, eps=4 / 255, steps=50),
                make_cell("adaptive", 0, 1, eps=8 / 255, steps=10),
                make_cell("oblivious", 0, 1, eps=8 / 255, steps=10, model="scenes:clip-vit"),
                make_cell("oblivious", 0, 1, eps=8 / 255, steps=10, surrogates=["scenes:clip-vit"]),
            ]
        )
        == []
    )


def test_a_crowd_is_cut_by_knowledge(make_cell) -> None:
    cells = [
        make_cell(knowledge, 0.1, 0.9, eps=eps / 255, steps=steps)
        for eps in (2, 8)
        for steps in (1, 10, 50, 300)
        for knowledge in ("oblivious", "adaptive")
    ]
    against_eps = [panel for panel in panels(cells) if panel.axis == "eps"]
    assert [panel.knowledge for panel in against_eps] == ["oblivious", "adaptive"]
    assert [len(panel.lines) for panel in against_eps] == [4, 4]
