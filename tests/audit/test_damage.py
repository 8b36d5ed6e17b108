"""Three rates of success with three names, and what each member of a composed attack did."""

from typing import Any

import pytest

from secondlook.audit.damage import damage, members
from tests.audit.rows import records


def row(sample: str, correct: float, rejected: float = 0.0, **more: Any) -> dict[str, Any]:
    return {"sample": sample, "original_top1": correct, "rejected": rejected, **more}


CLEAN = [row("a", 1), row("b", 1), row("c", 1), row("d", 0), row("e", 0, 1)]
# a is kept, b fooled, c rejected; d was wrong before, e was rejected before and is now accepted.
ATTACKED = [row("a", 1), row("b", 0), row("c", 0, 1), row("d", 0), row("e", 0)]


def test_each_rate_has_its_own_denominator() -> None:
    found = damage(ATTACKED, CLEAN)
    assert set(found) == {"asr_conditional", "accuracy_drop"}
    # Of three that were correct one is wrong and accepted; rejection is no success.
    assert found["asr_conditional"].value == pytest.approx(1 / 3)
    assert found["accuracy_drop"].value == pytest.approx(2 / 5)
    assert found["accuracy_drop"].low <= 2 / 5 <= found["accuracy_drop"].high


def test_a_targeted_attack_is_also_asked_for_its_target() -> None:
    found = damage(records(200, hits=range(50)), records(200))
    assert found["asr_targeted"].value == 0.25
    assert found["asr_conditional"].value == 0.25 and found["accuracy_drop"].value == 0.25


def test_where_nothing_was_correct_there_is_no_condition() -> None:
    wrong = [row(s, 0) for s in "abc"]
    found = damage(wrong, wrong)
    assert "asr_conditional" not in found and found["accuracy_drop"].value == 0


def test_samples_are_joined_by_name() -> None:
    found = damage([row("b", 1), row("a", 0)], [row("a", 1), row("b", 0), row("z", 1)])
    assert found["asr_conditional"].value == 1 and found["accuracy_drop"].value == 0


def test_a_member_is_measured_on_those_that_it_was_given() -> None:
    rows = [{"by": by} for by in (0, 0, 0, 2, 2, -1, -1, -1)]
    found = members(rows, ["ce", "dlr", "square"])
    assert {name: (m.fooled.value, m.n) for name, m in found.items()} == {
        "ce": (3 / 8, 8), "dlr": (0, 5), "square": (2 / 5, 5),
    }  # fmt: skip
    assert members([{"by": 0}] * 4, ["ce", "dlr"]).keys() == {"ce"}
    assert members([{}], []) == {}
