"""Accuracy under rejection, its two controls, and three rates of success with three names."""

from typing import Any

import pytest

from secondlook.metrics import outcomes
from secondlook.metrics.outcomes import attack_success, members
from secondlook.statistics import wilson
from tests.audit.rows import records


def record(correct: float, rejected: float, right: float, suspicion: float | None) -> dict[str, Any]:
    """A sample of class 0; ``right`` says whether its answer, accepted or not, is the truth."""
    return {
        "original_top1": correct,
        "rejected": rejected,
        "right": right,
        "suspicion": suspicion,
        "truth": 0,
        "answer": 0 if right else 1,
    }


# Four are right and accepted, one is right and rejected, two are wrong and accepted, three wrong
# and rejected.
ROWS = [
    *(record(1, 0, 1, 0.1) for _ in range(4)),
    record(0, 1, 1, 0.8),
    *(record(0, 0, 0, 0.2) for _ in range(2)),
    *(record(0, 1, 0, 0.9) for _ in range(3)),
]


def test_the_triple_and_what_follows_from_it() -> None:
    found = {name: metric.value for name, metric in outcomes.rejection(ROWS).items()}
    assert found["accuracy"] == found["correct"] == 0.4
    assert (found["wrong"], found["rejected"], found["coverage"]) == (0.2, 0.4, 0.6)
    assert found["correct_or_rejected"] == 0.8
    assert found["selective_accuracy"] == pytest.approx(4 / 6)
    interval = wilson(4, 6)
    metric = outcomes.rejection(ROWS)["selective_accuracy"]
    assert (metric.low, metric.high) == pytest.approx(interval[1:])


def test_the_controls_are_the_same_records_with_nothing_and_with_everything_rejected() -> None:
    found = outcomes.controls(ROWS)
    accept = {name: metric.value for name, metric in found["always_accept"].items()}
    reject = {name: metric.value for name, metric in found["always_reject"].items()}
    assert accept["accuracy"] == accept["correct_or_rejected"] == accept["selective_accuracy"] == 0.5
    assert (accept["wrong"], accept["rejected"]) == (0.5, 0)
    assert (reject["accuracy"], reject["wrong"], reject["rejected"]) == (0, 0, 1)
    # Whoever rejects everything has all of what some papers call robust accuracy.
    assert reject["correct_or_rejected"] == 1
    assert "selective_accuracy" not in reject


def test_fractions_of_fresh_draws_leave_no_dust() -> None:
    rows = [record(1 / 3, 2 / 3, 1 / 3, 0.0)] * 30
    found = outcomes.rejection(rows)
    assert found["wrong"].value == 0 and found["correct_or_rejected"].value == 1
    assert found["selective_accuracy"].value == pytest.approx(1)


def test_a_defense_that_accepts_nothing_has_no_selective_accuracy() -> None:
    found = outcomes.rejection([record(0, 1, 1, 1.0)] * 5)
    assert "selective_accuracy" not in found and found["coverage"].value == 0


def test_the_risk_curve_goes_from_the_least_suspicious_to_everything() -> None:
    curve = outcomes.risk_curve(ROWS)
    assert curve.coverage == [round(0.1 * k, 6) for k in range(1, 11)]
    assert curve.risk[:4] == [0, 0, 0, 0]
    assert curve.risk[-1] == 0.5
    assert curve.risk[5] == pytest.approx(2 / 6, abs=1e-6)


def test_what_json_could_not_hold_is_the_most_suspicious() -> None:
    rows = [record(0, 1, 0, None), record(1, 0, 1, 5.0)]
    assert outcomes.risk_curve(rows).risk == [0, 0.5]


def test_a_long_curve_is_thinned_and_keeps_its_ends() -> None:
    rows = [record(1, 0, 1, i / 1000) for i in range(999)] + [record(0, 0, 0, 2.0)]
    curve = outcomes.risk_curve(rows)
    assert len(curve.risk) == len(curve.coverage) == 64
    assert (curve.coverage[0], curve.coverage[-1], curve.risk[-1]) == (0.001, 1, 0.001)


def sample(sample: str, correct: float, rejected: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"sample": sample, "original_top1": correct, "rejected": rejected, **more}


CLEAN = [sample("a", 1), sample("b", 1), sample("c", 1), sample("d", 0), sample("e", 0, 1)]
# a is kept, b fooled, c rejected; d was wrong before, e was rejected before and is now accepted.
ATTACKED = [sample("a", 1), sample("b", 0), sample("c", 0, 1), sample("d", 0), sample("e", 0)]


def test_each_rate_has_its_own_denominator() -> None:
    found = attack_success(ATTACKED, CLEAN)
    assert set(found) == {"asr_conditional", "accuracy_drop"}
    # Of three that were correct one is wrong and accepted; rejection is no success.
    assert found["asr_conditional"].value == pytest.approx(1 / 3)
    assert found["accuracy_drop"].value == pytest.approx(2 / 5)
    assert found["accuracy_drop"].low <= 2 / 5 <= found["accuracy_drop"].high


def test_a_targeted_attack_is_also_asked_for_its_target() -> None:
    found = attack_success(records(200, hits=range(50)), records(200))
    assert found["asr_targeted"].value == 0.25
    assert found["asr_conditional"].value == 0.25 and found["accuracy_drop"].value == 0.25


def test_where_nothing_was_correct_there_is_no_condition() -> None:
    wrong = [sample(s, 0) for s in "abc"]
    found = attack_success(wrong, wrong)
    assert "asr_conditional" not in found and found["accuracy_drop"].value == 0


def test_samples_are_joined_by_name() -> None:
    found = attack_success([sample("b", 1), sample("a", 0)], [sample("a", 1), sample("b", 0), sample("z", 1)])
    assert found["asr_conditional"].value == 1 and found["accuracy_drop"].value == 0


def test_a_member_is_measured_on_those_that_it_was_given() -> None:
    rows = [{"by": by} for by in (0, 0, 0, 2, 2, -1, -1, -1)]
    found = members(rows, ["ce", "dlr", "square"])
    assert {name: (m.fooled.value, m.n) for name, m in found.items()} == {
        "ce": (3 / 8, 8),
        "dlr": (0, 5),
        "square": (2 / 5, 5),
    }
    assert members([{"by": 0}] * 4, ["ce", "dlr"]).keys() == {"ce"}
    assert members([{}], []) == {}
