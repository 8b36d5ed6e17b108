"""Checks of masked and tiny gradients, of other manners and of the batch: each sees the sick and passes the sound."""

from __future__ import annotations

from typing import Any

import pytest

from secondlook.audit.checks import Evidence, check_cell, masking
from secondlook.audit.checks.base import Row
from secondlook.audit.headline import headlines
from secondlook.schema import Diagnosis, MannerResult
from tests.audit.rows import cell, records


def diagnosis(**changes: Any) -> Diagnosis:
    sound: dict[str, Any] = {
        "verdict": "no masking found",
        "sentence": "",
        "reasons": [],
        "n": 8,
        "manners": {
            "bare": MannerResult(size=1.0, zero=0.0, tiny=0.0),
            "as-is": MannerResult(size=0.5, zero=0.0, tiny=0.0),
        },
        "cosines": [],
        "slopes": [],
        "coupling": 1e-7,
        "forwards": 1,
        "backwards": 1,
    }
    return Diagnosis(**(sound | changes))


def row(found: Diagnosis, hits: int = 100, **evidence: Any) -> Row:
    return Row(cell(diagnosis=found), records(200, range(hits)), Evidence(**evidence))


MASKED = {"verdict": "masked", "reasons": ["the bare model's attack does better"]}


@pytest.mark.parametrize(
    ("changes", "replays", "status"), [({}, False, "pass"), (MASKED, False, "fail"), (MASKED, True, "warn")]
)
def test_a_masked_gradient_fails_whoever_relies_on_it(changes: Any, replays: bool, status: str) -> None:
    (found,) = masking.unmasked(row(diagnosis(**changes), replays=replays))
    assert found.status == status


@pytest.mark.parametrize(("tiny", "status"), [(0.0, "pass"), (0.05, "warn"), (0.125, "fail")])
def test_a_gradient_of_next_to_nothing_is_seen(tiny: float, status: str) -> None:
    (found,) = masking.reaching(row(diagnosis(manners={"as-is": MannerResult(size=1e-9, zero=0.0, tiny=tiny)})))
    assert found.status == status


def test_no_gradient_at_all_is_seen() -> None:
    (found,) = masking.reaching(row(diagnosis(manners={"as-is": MannerResult(note="the loss has no gradient")})))
    assert (found.status, found.detail) == ("fail", "the loss has no gradient")


@pytest.mark.parametrize(("far", "status"), [(1e-5, "pass"), (0.1, "fail")])
def test_an_answer_that_moves_with_its_neighbors_fails(far: float, status: str) -> None:
    (found,) = masking.standing_alone(row(diagnosis(coupling=far)))
    assert found.status == status


@pytest.mark.parametrize(("own", "status"), [(2, "fail"), (4, "warn"), (8, "")])
def test_a_manner_that_does_better_by_itself_shows_a_weak_attack(own: int, status: str) -> None:
    seen = {"samples": [f"s{at:03d}" for at in range(8)], "manners": {"bare": {"success": [True] * 8}}}
    found = list(masking.outdone(row(diagnosis(), own, diagnosed=seen)))
    assert [check.status for check in found] == ([status] if status else [])


def test_what_was_not_diagnosed_is_not_checked() -> None:
    sound = Row(cell(), records(), Evidence())
    for check in (masking.unmasked, masking.reaching, masking.outdone, masking.standing_alone):
        assert not list(check(sound))


def test_a_failed_check_withholds_the_headline() -> None:
    rows = records()
    clean, attacked = cell("clean"), cell(diagnosis=diagnosis(**MASKED))
    attacked = attacked.model_copy(update={"health": check_cell(attacked, rows, Evidence())})  # type: ignore[arg-type]
    (found,) = headlines([clean, attacked], {each.id: rows for each in (clean, attacked)})
    assert found.status == "withheld"
    assert any("gradient is not masked" in why for why in found.reasons)
