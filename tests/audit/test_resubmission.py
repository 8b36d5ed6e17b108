"""Inputs that are sent again to a randomized defense: who is, with what draws, and the curve that it makes."""

from __future__ import annotations

from typing import Any

import pytest

from secondlook.audit.estimate import measured
from secondlook.audit.plan import plan
from secondlook.audit.resubmission import curve, tries
from secondlook.audit.store import Log
from secondlook.progress import silent
from tests.audit.conftest import Make, Run

NOISE = {"name": "noise", "sigma": 0.5, "samples": 1}
TRIES = 8


def of(make: Make, count: int = TRIES, **changes: Any) -> Any:
    study = make(**{"defenses": [NOISE, {"name": "jpeg"}], "resubmitted": count, "diagnosed": 0, **changes})
    return study.model_copy(update={"task": {**study.task, "samples": 8}})


def records(folder: Any) -> dict[tuple[int, str], dict[str, Any]]:
    """Each row by its place among the rows, for ids differ with the study's settings."""
    rows = list(Log(folder / "records.jsonl"))
    places = {cell: place for place, cell in enumerate(dict.fromkeys(row["cell"] for row in rows))}
    return {(places[row["cell"]], row["sample"]): {k: v for k, v in row.items() if k != "cell"} for row in rows}


def test_only_attacked_inputs_of_randomized_answers_are_sent_again(
    classification: Make, captioning: Make, retrieval: Make
) -> None:
    made = plan(of(classification))
    asked = {(row.label.split()[0], row.knowledge): tries(made, row) for row in made.rows}
    assert asked == {("noise", "clean"): 0, ("noise", "adaptive"): TRIES, ("jpeg", "clean"): 0, ("jpeg", "adaptive"): 0}
    whole = plan(of(retrieval, defenses=[NOISE]))
    assert whole.task.collective and not any(tries(whole, row) for row in whole.rows)
    told = plan(of(captioning))
    assert {tries(told, row) for row in told.rows if row.label.startswith("noise") and row.spec} == {TRIES}


def test_tries_have_draws_of_their_own_and_leave_all_other_figures_alone(classification: Make, ran: Run) -> None:
    folder, audit = ran(of(classification))
    without, none = ran(of(classification, 0))
    found, before = records(folder), records(without)
    hits = {key: row.pop("through") for key, row in found.items() if "through" in row}
    assert found == before
    assert set(hits.values()) - {0, TRIES}, "draws differ"
    assert [cell.resubmission for cell in none.cells] == [None] * 4
    (cell,) = [cell for cell in audit.cells if cell.resubmission]
    assert (cell.defense.split()[0], cell.knowledge) == ("noise", "adaptive")
    made = cell.resubmission
    assert made is not None and made.tries == TRIES == len(made.chance) == len(made.independent)
    assert made.chance[0] == pytest.approx(sum(hits.values()) / TRIES / len(hits))
    assert made.chance[-1] == pytest.approx(sum(hit > 0 for hit in hits.values()) / len(hits))


def test_who_is_beside_an_input_is_not_felt_by_its_tries(classification: Make, ran: Run) -> None:
    few, many = (
        {key: row.get("through") for key, row in records(ran(of(classification, batch=size))[0]).items()}
        for size in (3, 8)
    )
    assert few.keys() == many.keys()
    by_sample = [
        sorted((name, value) for (_, name), value in each.items() if value is not None) for each in (few, many)
    ]
    assert by_sample[0] == by_sample[1]


def test_tries_are_in_the_estimate(classification: Make) -> None:
    costs = []
    for count in (0, TRIES):
        made = plan(of(classification, count, defenses=[NOISE]))
        found = measured(made, silent)
        costs.append({row.knowledge: found.answer(row).forwards for row in made.rows})
    assert costs[1]["clean"] == costs[0]["clean"]
    # Three decisions and one of the bare model beside them, and now the tries as well.
    assert costs[1]["adaptive"] == costs[0]["adaptive"] * (4 + TRIES) / 4


def test_the_curve_of_two_kinds_of_input_lies_below_that_of_inputs_that_are_alike() -> None:
    """Half of them get through at every try, half never: one try, or many, it is one half."""
    made = curve([{"through": 4}, {"through": 0}] * 10, 4)
    assert made is not None
    assert made.chance == pytest.approx([0.5] * 4)
    assert made.independent == pytest.approx([0.5, 0.75, 0.875, 0.9375])
    assert all(low < 0.5 < high for low, high in zip(made.low, made.high, strict=True))


def test_nothing_is_drawn_of_no_tries() -> None:
    assert curve([{"sample": "a"}], 0) is None
    assert curve([], 4) is None
