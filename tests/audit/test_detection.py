"""Detection of attacked rows against clean ones, where it can be counted by hand."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secondlook.audit.api import run_study
from secondlook.audit.columns import Rows
from secondlook.audit.detection import Scored, by_attribute, detected, histogram, measured, scored
from secondlook.audit.store import Log
from secondlook.metrics.detection import auroc_difference
from secondlook.schema import Audit, Cell, Detection, Metric
from tests import tiny
from tests.audit.rows import cell

RNG = np.random.default_rng(0)
LOW, HIGH = [i / 100 for i in range(40)], [1 + i / 100 for i in range(40)]


def rows(suspicions: Sequence[float | None], above: float = 0.5, samples: Sequence[str] = ()) -> Rows:
    """Records of so many samples; those with more than ``above`` are rejected."""
    found = Rows()
    names = samples or [f"s{i:03d}" for i in range(len(suspicions))]
    for name, suspicion in zip(names, suspicions, strict=True):
        rejected = float(suspicion is None or suspicion > above)
        found.add({"sample": name, "suspicion": suspicion, "rejected": rejected})
    return found.ordered()


def pair(name: str = "d", knowledge: str = "oblivious", **attack: Any) -> tuple[Cell, Cell]:
    """The clean row and an attacked one of a defense."""
    defense = {"name": name}
    made = cell("clean", id=f"clean {name}", defense=name, settings={"defense": defense})
    attacked = cell(
        knowledge,
        id=f"{knowledge} {name} {attack}",
        defense=name,
        settings={"defense": defense, "attack": {"name": "pgd", **attack}},
    )
    return made, attacked


def against(
    clean: Sequence[float | None],
    attacked: Sequence[float | None],
    thresholds: Mapping[str, float | None] | None = None,
    above: float = 0.5,
) -> tuple[Detection | None, Detection | None]:
    """The detection of a clean row and of an attacked one."""
    cells = pair()
    given = dict(zip((c.id for c in cells), (rows(clean, above), rows(attacked, above)), strict=True))
    ledger = [{"inspected": "clean d", "thresholds": thresholds}] if thresholds else []
    calm, found = detected(cells, given, ledger)
    return calm.detection, found.detection


def test_a_perfect_detector_catches_all_and_refuses_none() -> None:
    calm, found = against(LOW, HIGH, {"0.01": 0.39, "0.05": 0.5})
    assert found is not None and found.auroc is not None and found.average_precision is not None
    assert (found.auroc.value, found.average_precision.value) == (1, 1)
    assert found.auroc.low < 1
    for rate in ("0.01", "0.05"):
        at = found.calibrated[rate]
        assert at.tpr is not None and (at.tpr.value, at.fpr.value) == (1, 0)
        assert at.tpr.low < 1 and at.fpr.high > 0
    assert found.sorting is not None and found.sorting.threshold == 0.5
    counts = found.sorting
    assert (counts.caught, counts.missed, counts.passed, counts.refused) == (40, 0, 40, 0)
    assert counts.accuracy.value == 1
    assert {each.accuracy.value for each in found.optimistic.values()} == {1}
    assert found.roc is not None and (found.roc.fpr[0], found.roc.tpr[0]) == (0, 1)
    assert found.rejected.value == 1
    assert calm is not None and calm.auroc is None and calm.sorting is None
    assert calm.calibrated["0.05"].fpr.value == 0 and calm.calibrated["0.05"].tpr is None
    assert calm.rejected.value == 0


def test_one_that_has_it_the_wrong_way_round_has_no_area() -> None:
    _, found = against(HIGH, LOW, {"0.05": 0.5})
    assert found is not None and found.auroc is not None and found.sorting is not None
    assert found.auroc.value == 0
    assert (found.sorting.caught, found.sorting.passed) == (0, 0)
    assert found.sorting.accuracy.value == 0


def test_the_same_scores_are_chance() -> None:
    _, found = against(LOW, LOW, above=0.3)
    assert found is not None and found.auroc is not None
    assert found.auroc.value == 0.5
    # In hindsight there is always a threshold that is no worse.
    assert found.optimistic["youden"].accuracy.value >= 0.5


def test_rates_are_counted_above_the_threshold() -> None:
    _, found = against([0.1, 0.2, 0.3, 0.4], [0.2, 0.3, 0.3, 0.9], {"0.1": 0.3, "0.05": 0.2})
    assert found is not None
    rates = {rate: (at.fpr.value, at.tpr and at.tpr.value) for rate, at in found.calibrated.items()}
    assert rates == {"0.1": (0.25, 0.25), "0.05": (0.5, 0.75)}
    assert found.sorting is not None
    counts = found.sorting
    assert (counts.caught, counts.missed, counts.passed, counts.refused) == (3, 1, 2, 2)
    assert counts.accuracy.value == 5 / 8


def test_without_thresholds_their_figures_are_left_out() -> None:
    calm, found = against(LOW, HIGH)
    assert calm is not None and found is not None and found.auroc is not None
    assert calm.calibrated == found.calibrated == {} and found.sorting is None
    assert set(found.optimistic) == {"youden", "equal_tpr_tnr"}
    _, partly = against(LOW, HIGH, {"0.1": 0.4, "0.01": None})
    assert partly is not None and set(partly.calibrated) == {"0.1"} and partly.sorting is None


def test_what_json_could_not_hold_is_the_most_suspicious() -> None:
    _, found = against([0.1, 0.2, 0.3], [0.05, None, None], {"0.05": 1e9})
    assert found is not None and found.sorting is not None and found.auroc is not None
    assert found.sorting.caught == 2
    assert found.auroc.value == pytest.approx(6 / 9)
    assert found.histogram is not None
    assert found.histogram.edges[-1] == 0.3 and found.histogram.attacked[-1] == 2
    assert Detection.model_validate_json(found.model_dump_json()) == found


def test_where_all_is_infinite_there_is_no_histogram_and_json_is_read_again() -> None:
    every = Scored(("a", "b"), np.array([np.inf, np.inf]), (1.0, 1.0))
    found = measured(every, every, {}, {})
    assert found.histogram is None and found.auroc is not None and found.auroc.value == 0.5
    Detection.model_validate_json(found.model_dump_json())


@pytest.mark.parametrize(("clean", "attacked"), [(LOW, HIGH), ([0.0] * 40, [0.0] * 40)])
def test_who_rejects_nothing_or_tells_nothing_apart_is_no_detector(clean: list[float], attacked: list[float]) -> None:
    """A vote that has a suspicion and accepts all the same; the bare model, which has none."""
    assert against(clean, attacked, above=99) == (None, None)
    assert (against(clean, attacked, {"0.05": 1}, above=99)[1] is None) == (clean == attacked)


def test_rooms_without_suspicions_are_left_alone() -> None:
    cells = pair()
    plain = Rows()
    plain.add({"sample": "a", "success": 1.0})
    assert detected(cells, {each.id: plain for each in cells}) == list(cells)
    assert scored([]) is None


def test_a_row_without_its_clean_one_is_left_alone() -> None:
    _, attacked = pair()
    assert detected([attacked], {attacked.id: rows(HIGH)})[0].detection is None


def test_the_bins_are_equal_and_hold_everybody() -> None:
    found = histogram(np.array(LOW), np.array(HIGH))
    assert found is not None
    assert sum(found.clean) == sum(found.attacked) == 40
    assert np.diff(found.edges) == pytest.approx((1.39 - 0) / 20)
    assert found.clean[-1] == found.attacked[0] == 0


def compared(first: Sequence[tuple[Cell, Rows]], other: Sequence[tuple[Cell, Rows]]) -> list[Metric | None]:
    cells = [each for each, _ in (*first, *other)]
    given = {each.id: found for each, found in (*first, *other)}
    return [each.detection.auroc_difference if each.detection else None for each in detected(cells, given)]


def test_the_difference_is_that_of_the_same_samples() -> None:
    """Of one set of scores twice the paired difference is zero, and as doubtful on either side."""
    clean, attacked = RNG.normal(size=50).tolist(), (RNG.normal(size=50) + 1).tolist()
    first = list(zip(pair("a"), (rows(clean), rows(attacked)), strict=True))
    same = list(zip(pair("b"), (rows(clean), rows(attacked)), strict=True))
    (*_, gap) = compared(first, same)
    assert gap is not None and gap.value == 0 and -0.2 < gap.low == -gap.high < 0
    noisy = [x + e for x, e in zip(attacked, RNG.normal(size=50), strict=True)]
    worse = list(zip(pair("b"), (rows(clean), rows(noisy)), strict=True))
    found = compared(first, worse)
    assert found[:3] == [None, None, None] and found[3] is not None
    expected = auroc_difference((clean, clean), (attacked, noisy), twins=True)
    assert (found[3].value, found[3].low, found[3].high) == tuple(expected)


def test_samples_are_paired_by_name_and_not_by_when_they_were_written() -> None:
    clean, attacked = RNG.normal(size=30).tolist(), (RNG.normal(size=30) + 1).tolist()
    names = [f"s{i:03d}" for i in range(30)]
    first = list(zip(pair("a"), (rows(clean), rows(attacked)), strict=True))
    turned = rows(attacked[::-1], samples=names[::-1])
    (*_, gap) = compared(first, list(zip(pair("b"), (rows(clean), turned), strict=True)))
    assert gap is not None and gap.value == 0 and -0.2 < gap.low == -gap.high < 0
    others = rows(attacked, samples=[f"t{name}" for name in names])
    (*_, none) = compared(first, list(zip(pair("b"), (rows(clean), others), strict=True)))
    assert none is None


@pytest.mark.parametrize(
    ("knowledge", "attack", "paired"),
    [("oblivious", {}, True), ("transfer", {}, True), ("adaptive", {}, False), ("oblivious", {"steps": 3}, False)],
)
def test_only_detectors_that_met_the_same_adversarials_are_compared(
    knowledge: str, attack: dict[str, Any], paired: bool
) -> None:
    given = (rows(LOW), rows(HIGH))
    first = list(zip(pair("a", knowledge), given, strict=True))
    other = list(zip(pair("b", knowledge, **attack), given, strict=True))
    assert (compared(first, other)[3] is not None) == paired


def test_kinds_of_which_there_are_few_are_left_out() -> None:
    names = tuple(f"s{i}" for i in range(10))
    row = Scored(names, np.arange(10.0), tuple(float(i > 6) for i in range(10)))
    known = {name: {"shape": "star" if i >= 4 else "ring"} for i, name in enumerate(names)}
    (found,) = by_attribute(row, known)
    assert (found.attribute, found.value, found.n) == ("shape", "star", 6)
    assert found.flagged.value == 0.5
    assert by_attribute(row, {}) == []


def test_a_run_has_the_rates_that_its_clean_images_suffice_for(pictures: Path, tmp_path: Path) -> None:
    """Thirty clean images are enough for 5 % and for 10 %, and not for 1 %."""
    apart = tiny.write_folder(tmp_path / "apart", 30)
    study = tiny.study(
        pictures,
        knowledge=["clean", "oblivious"],
        surrogates=[],
        task={"data": f"folder:{pictures}", "samples": 0, "goal": "untargeted"},
        attack={"name": "pgd", "steps": 4},
        adaptive={},
        defenses=[
            {"name": "undefended"},
            *(
                {
                    "name": "consistency",
                    "augmentations": f"bits:{bits}",
                    "encoders": "python:tests.tiny:other",
                    "calibrate_on": f"folder:{apart}",
                    "false_rejection": 0.1,
                }
                for bits in (2, 3)
            ),
        ],
    )
    audit = run_study(study, tmp_path / "run")
    bare, first_one, second = (
        [each for each in audit.cells if each.settings["defense"].get("augmentations") == augmentations]
        for augmentations in (None, "bits:2", "bits:3")
    )
    assert [each.detection for each in bare] == [None, None]
    lines = [line for line in Log(tmp_path / "run" / "ledger.jsonl") if "thresholds" in line]
    assert [line["inspected"] for line in lines] == [first_one[0].id, second[0].id]
    for line, (calm, attacked) in zip(lines, (first_one, second), strict=True):
        assert calm.detection is not None and attacked.detection is not None
        assert list(attacked.detection.calibrated) == ["0.05", "0.1"]
        at = calm.detection.calibrated["0.1"]
        assert at.threshold == line["thresholds"]["0.1"]
        # The defense's own threshold is that of its false rejection.
        assert at.fpr == calm.detection.rejected
        assert attacked.detection.calibrated["0.1"].tpr == attacked.detection.rejected
    assert first_one[1].detection.auroc_difference is None and second[1].detection.auroc_difference is not None


def test_results_from_before_there_was_detection_are_read() -> None:
    plain = json.loads(cell().model_dump_json())
    del plain["detection"]
    audit = {"schema": 1, "study": "s", "title": "", "provenance": {}, "cells": [plain], "headline": []}
    assert Audit.model_validate(audit).cells[0].detection is None
