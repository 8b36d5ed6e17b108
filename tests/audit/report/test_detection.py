"""The section on detectors: where lines stand, what is said, and when there is none of it."""

import re
from typing import Any

import pytest

from secondlook.audit.report import detection as report
from secondlook.audit.report.detection import detectors, difference, extremes, largest
from secondlook.audit.report.matrix import Row, blocks
from secondlook.audit.report.page import html
from secondlook.audit.report.svg import BOTTOM, LEFT, RIGHT, SHARES, TOP
from secondlook.schema import Audit, Calibrated, Cell, Detection, Flagged, Histogram, Metric, Roc, Sorting
from tests.audit.report.conftest import HOSTILE, cell, share
from tests.audit.report.test_page import parsed

THIRD = (RIGHT - LEFT) / 3
"""A factor of ten on the axis of false alarms."""


def kinds(*shares: float) -> list[Flagged]:
    return [
        Flagged(attribute="shape", value=f"kind {i}", n=20, flagged=share(value, 20)) for i, value in enumerate(shares)
    ]


def clean_one(**changes: Any) -> Detection:
    found = Detection(
        rejected=share(0.06),
        by_attribute=kinds(0.0, 0.35, 0.1),
        calibrated={"0.05": Calibrated(threshold=0.5, fpr=share(0.07))},
    )
    return found.model_copy(update=changes)


def attacked_one(**changes: Any) -> Detection:
    counts = Sorting(threshold=0.5, accuracy=share(0.745, 200), caught=56, missed=44, passed=93, refused=7)
    found = Detection(
        rejected=share(0.56),
        by_attribute=kinds(0.2, 0.9, 0.5, 0.4, 0.6, 0.7, 0.8),
        calibrated={"0.05": Calibrated(threshold=0.5, fpr=share(0.07), tpr=share(0.56))},
        sorting=counts,
        auroc=Metric(value=0.861, low=0.8, high=0.91),
        average_precision=Metric(value=0.9, low=0.85, high=0.93),
        auroc_difference=Metric(value=-0.02, low=-0.05, high=0.01),
        optimistic={"youden": counts, "equal_tpr_tnr": counts},
        histogram=Histogram(edges=[0.0, 1.0, 2.0], clean=[80, 20], attacked=[10, 30]),
        roc=Roc(fpr=[0.0, 0.01, 0.1, 1.0], tpr=[0.25, 0.5, 0.75, 1.0]),
    )
    return found.model_copy(update=changes)


def rows(defense: str = "mirrorcheck", **changes: Any) -> list[Cell]:
    return [
        cell("clean", 0.0, 0.9, defense=defense, detection=clean_one()),
        cell("adaptive", 0.3, 0.2, defense=defense, detection=attacked_one(**changes)),
    ]


def audit(*cells: Cell) -> Audit:
    return Audit(study="d", title="", provenance={}, cells=list(cells), headline=[])


def row(**changes: Any) -> Row:
    return Row(cell=rows(**changes)[1], name="adaptive")


def section(page: str) -> str:
    start = page.index('<section aria-labelledby="detection">')
    text = parsed(page[start : page.index("</section>", start) + len("</section>")]).text
    return " ".join(" ".join(text).split())


def test_without_detectors_there_is_no_section(photographs: Audit) -> None:
    page = html(photographs, [])
    assert "detection" not in parsed(page).ids and "#detection" not in parsed(page).addresses
    bare = cell("clean", 0, 0.9), cell("adaptive", 0.3, 0.2)
    assert detectors(blocks(audit(*bare))) == []
    (watch,) = detectors(blocks(audit(*bare, *rows())))
    assert [group.name for group in watch.groups] == ["mirrorcheck"]


def test_every_figure_is_there_with_what_it_carries() -> None:
    page = html(audit(*rows()), [])
    read, said = parsed(page), section(page)
    assert read.open == [] and len(read.ids) == len(set(read.ids))
    assert "#detection" in read.addresses
    for text in (
        "0.861 [0.800, 0.910]",
        "0.900 [0.850, 0.930]",
        "-0.020 [-0.050, +0.010]",
        "56 % [46, 65]",
        "56, 44",
        "93, 7",
        "7 % [3, 14]",
        "6 % [3, 12]",
    ):
        assert text in said
    assert "Optimistic: thresholds chosen on what they are measured on" in said


def test_figures_that_a_study_does_not_have_leave_no_column() -> None:
    calm, found = rows(calibrated={}, sorting=None, auroc_difference=None)
    calm = calm.model_copy(update={"detection": clean_one(calibrated={}, by_attribute=[])})
    found = found.model_copy(update={"detection": found.detection.model_copy(update={"by_attribute": []})})
    page = html(audit(calm, found), [])
    said = section(page)
    for text in ("caught, at false alarms", "First less this", "sorted right 56", "kinds"):
        assert text not in said
    assert "rejected" in said and "56 % [46, 65]" in said
    assert "threshold for 5 %" not in page


def test_names_are_text() -> None:
    named = [Flagged(attribute=HOSTILE, value=HOSTILE, n=9, flagged=share(0.5, 9))] * 2
    page = html(audit(*rows(HOSTILE, by_attribute=named)), [])
    assert "<script>alert" not in page
    assert HOSTILE in section(page)


def test_false_alarms_go_by_ratio_and_the_curve_is_a_stair() -> None:
    assert report.ALARMS(0.01) == pytest.approx(LEFT + THIRD)
    drawn = report.roc(row())
    (stair,) = re.findall(r'class="line k-adaptive" d="([^"]+)"', drawn)
    spots = [tuple(map(float, step.split())) for step in re.split(" ?[ML]", stair)[1:]]
    across = [LEFT, LEFT + THIRD, LEFT + THIRD, LEFT + 2 * THIRD, LEFT + 2 * THIRD, RIGHT, RIGHT]
    heights = [SHARES(share) for share in (0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1, 1)]
    assert [x for x, _ in spots] == pytest.approx([*across, RIGHT], abs=0.01)
    assert [y for _, y in spots] == pytest.approx(heights, abs=0.01)
    assert "AUROC 0.861 [0.800, 0.910]" in drawn
    dot = re.search(r'class="dot k-adaptive" cx="([^"]+)" cy="([^"]+)"', drawn)
    assert dot is not None
    assert float(dot[1]) == pytest.approx(report.ALARMS(0.07), abs=0.01)
    assert float(dot[2]) == pytest.approx(SHARES(0.56), abs=0.01)


def test_rates_below_the_axis_stand_at_its_end() -> None:
    found = attacked_one(roc=Roc(fpr=[0.0, 0.0001, 1.0], tpr=[0.1, 0.4, 1.0]))
    drawn = report.roc(row(roc=found.roc))
    (stair,) = re.findall(r'class="line k-adaptive" d="([^"]+)"', drawn)
    assert stair.startswith(f"M{LEFT:g} {SHARES(0.1):.4g} L{LEFT:g} {SHARES(0.4):.4g} L")


def test_bars_are_shares_of_their_own_row() -> None:
    """Thirty of forty attacked inputs stand lower than eighty of a hundred clean ones."""
    drawn = report.suspicions(row())
    heights = {
        kind: {float(step.split()[1]) for step in re.split(" ?[ML]", line)[1:]}
        for kind, line in re.findall(r'class="line k-(\w+)" d="([^"]+)"', drawn)
    }
    top, tall = TOP + 16, BOTTOM - TOP - 16
    assert min(heights["clean"]) == top
    assert min(heights["adaptive"]) == pytest.approx(BOTTOM - tall * 0.75 / 0.8, abs=0.01)
    assert "80 %" in drawn


def test_the_threshold_is_on_the_board_even_where_no_input_is() -> None:
    (line,) = re.findall(r'class="half" x1="([^"]+)"', report.suspicions(row()))
    assert float(line) == pytest.approx(LEFT + (RIGHT - LEFT) / 4, abs=0.01)
    far = {"0.05": Calibrated(threshold=4.0, fpr=share(0), tpr=share(0))}
    (line,) = re.findall(r'class="half" x1="([^"]+)"', report.suspicions(row(calibrated=far)))
    assert float(line) == RIGHT
    assert "half" not in report.suspicions(row(calibrated={}))
    assert report.suspicions(row(histogram=None)) == ""


def test_the_ends_of_the_kinds_are_apart() -> None:
    least, most = extremes(row())
    assert [kind.value for kind in least] == ["kind 0", "kind 3", "kind 2"]
    assert [kind.value for kind in most] == ["kind 1", "kind 6", "kind 5"]
    few = extremes(row(by_attribute=kinds(0.1, 0.9, 0.5)))
    assert [[kind.value for kind in side] for side in few] == [["kind 0"], ["kind 1"]]
    same = row(by_attribute=kinds(0.5, 0.5, 0.5))
    assert extremes(same) == ([], [])
    large = kinds(0.5, 0.5, 0.9)[1].model_copy(update={"n": 50, "value": "large"})
    (least,), (most,) = extremes(row(by_attribute=[*kinds(0.5, 0.9), large]))
    assert (least.value, most.value) == ("large", "kind 1")
    alike = section(html(audit(*rows(by_attribute=kinds(0.5, 0.5))), []))
    assert "as often in all kinds" in alike
    said = section(html(audit(*rows()), []))
    assert "shape kind 0 80 % of 20" in said  # missed
    assert "shape kind 1 35 % of 20" in said  # a false alarm
    assert "of so many, some stand apart by chance" in said


def test_of_several_budgets_the_largest_is_drawn() -> None:
    calm, found = rows()
    weak = found.model_copy(update={"id": "weak", "threat": found.threat.model_copy(update={"eps": 2 / 255})})
    (watch,) = detectors(blocks(audit(calm, weak, found)))
    assert [each.cell.id for each in largest(watch.groups[0])] == [found.id]


def test_a_lead_has_a_sign() -> None:
    assert difference(Metric(value=0.1, low=-0.05, high=0.25)) == "+0.100 [-0.050, +0.250]"
