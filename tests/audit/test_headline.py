"""The headline is the worst of all attackers sample by sample, or it is withheld."""

from typing import Any

import pytest

from secondlook.audit.headline import headlines, worst
from secondlook.schema import Audit, Cell, Check
from secondlook.statistics import wilson
from tests.audit.rows import cell, records


def matrix(*knowledge: str, **changes: Any) -> list[Cell]:
    return [cell(known, id=known, **changes) for known in knowledge]


def rows_of(cells: list[Cell], **hits: range) -> dict[str, list[dict[str, Any]]]:
    return {c.id: records(hits=hits.get(c.id, range(0))) for c in cells}


def test_the_worst_is_taken_sample_by_sample() -> None:
    cells = matrix("clean", "oblivious", "transfer", "adaptive")
    found = rows_of(cells, oblivious=range(0, 40), transfer=range(20, 60), adaptive=range(50, 90))
    (headline,) = headlines(cells, found)
    assert headline.status == "shown" and headline.reasons == []
    # 0 to 89 are reached by somebody, though no single attack reaches more than 40.
    assert headline.worst_target_top1.value == 90 / 200
    assert headline.worst_original_top1.value == 110 / 200
    interval = wilson(90, 200)
    assert (headline.worst_target_top1.low, headline.worst_target_top1.high) == interval[1:]
    assert headline.rows == ["oblivious", "transfer", "adaptive"]
    assert headline.clean_original_top1 == cells[0].metrics["original_top1"]


def test_fractions_of_fresh_draws_are_kept() -> None:
    cells = matrix("oblivious", "adaptive")
    rows = {
        "oblivious": [{"sample": "a", "x": 1 / 3}, {"sample": "b", "x": 1.0}],
        "adaptive": [{"sample": "b", "x": 2 / 3}, {"sample": "a", "x": 2 / 3}],
    }
    assert worst(cells, rows, "x", max).value == pytest.approx((2 / 3 + 1) / 2)
    assert worst(cells, rows, "x", min).value == pytest.approx((1 / 3 + 2 / 3) / 2)


def test_no_headline_without_an_attack_that_knows() -> None:
    cells = matrix("clean", "oblivious", "transfer")
    (headline,) = headlines(cells, rows_of(cells))
    assert headline.status == "withheld"
    assert headline.reasons == ["no attack in this audit knows the defense; add knowledge = 'adaptive'"]


@pytest.mark.parametrize("sick", ["oblivious", "transfer", "adaptive"])
def test_a_failed_check_takes_the_headline_away(sick: str) -> None:
    cells = matrix("clean", "oblivious", "transfer", "adaptive")
    checks = [
        Check(check="loss rises", status="fail", detail="it fell"),
        Check(check="converged", status="warn", detail="late"),
    ]
    cells = [c.model_copy(update={"health": checks}) if c.id == sick else c for c in cells]
    (headline,) = headlines(cells, rows_of(cells))
    assert headline.status == "withheld"
    assert headline.reasons == [f"{sick}: loss rises failed: it fell"]


def test_a_warning_does_not() -> None:
    warned = [Check(check="converged", status="warn", detail="late")]
    cells = matrix("clean", "oblivious", "adaptive", health=warned)
    assert headlines(cells, rows_of(cells))[0].status == "shown"


def test_a_control_has_none() -> None:
    defense, control = matrix("clean", "adaptive"), matrix("clean", "adaptive", defense="always-accept")
    control = [c.model_copy(update={"id": f"{c.id} control", "control": True}) for c in control]
    (headline,) = headlines([*defense, *control], rows_of([*defense, *control]))
    assert headline.defense == defense[0].defense and headline.rows == ["adaptive"]


def test_each_threat_and_each_defense_has_its_own() -> None:
    cells = [
        cell(
            known,
            id=f"{known}-{samples}-{eps}",
            eps=eps / 255,
            settings={"defense": {"name": "d", "samples": samples}, "attack": {}},
        )
        for samples in (3, 10)
        for known, eps in (("clean", 0), ("oblivious", 16), ("adaptive", 16), ("oblivious", 4))
    ]
    found = headlines(cells, rows_of(cells))
    assert [(h.rows[0].split("-")[1], round(h.threat.eps * 255), h.status) for h in found] == [
        ("3", 16, "shown"),
        ("3", 4, "withheld"),
        ("10", 16, "shown"),
        ("10", 4, "withheld"),
    ]


def test_a_failed_check_at_one_eps_leaves_the_others_alone() -> None:
    sick = [Check(check="loss rises", status="fail", detail="it fell")]
    cells = [cell("clean", id="c")]
    for eps in (4, 8):
        row = cell("adaptive", id=f"a{eps}", eps=eps / 255)
        cells.append(row.model_copy(update={"health": sick}) if eps == 4 else row)
    found = headlines(cells, rows_of(cells))
    assert {round(h.threat.eps * 255): h.status for h in found} == {4: "withheld", 8: "shown"}


def test_clean_rows_alone_have_no_headline() -> None:
    cells = matrix("clean")
    assert headlines(cells, rows_of(cells)) == []


def test_a_sound_run_shows_its_headlines(whole: Any) -> None:
    audit: Audit = whole.audit
    assert [(h.defense, h.status) for h in audit.headline] == [
        ("undefended", "shown"),
        ("consensus python:tests.tiny:shift", "shown"),
    ]
    for headline in audit.headline:
        rows = [c for c in audit.cells if c.id in headline.rows]
        # A bare model has no defense to know: what knows it is what attacks it at all.
        assert len(rows) == (2 if headline.defense == "undefended" else 3)
        worst_row = max(c.metrics["target_top1"].value for c in rows)
        assert headline.worst_target_top1.value >= worst_row - 1e-9
