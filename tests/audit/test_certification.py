"""Certificates in an audit: who gets them, what stands in the row, the picture, and the check that they hold."""

from __future__ import annotations

from typing import Any

from secondlook.audit.certification import draws
from secondlook.audit.checks import Evidence
from secondlook.audit.checks.base import Row
from secondlook.audit.checks.certificate import kept
from secondlook.audit.plan import plan
from secondlook.audit.report.certification import at_least, certified_curve, certified_sentence, promises
from secondlook.audit.report.matrix import blocks
from secondlook.schema import Certification, Metric, SampleRecord, ThreatRow
from tests.audit.conftest import Make, Run
from tests.audit.rows import cell

NOISE = {"name": "noise", "sigma": 0.25, "samples": 3}


def of(make: Make, count: int = 40, **changes: Any) -> Any:
    threat = {"norm": "l2", "eps": [0.25]}
    study = make(
        **{"defenses": [NOISE, {"name": "jpeg"}], "certified": count, "diagnosed": 0, "threat": threat, **changes}
    )
    return study.model_copy(update={"task": {**study.task, "samples": 6}})


def test_clean_inputs_and_those_attacked_in_l2_are_certified(classification: Make, retrieval: Make) -> None:
    made = plan(of(classification))
    asked = {(row.label.split()[0], row.knowledge): draws(made, row) for row in made.rows}
    assert asked == {("noise", "clean"): 40, ("noise", "adaptive"): 40, ("jpeg", "clean"): 0, ("jpeg", "adaptive"): 0}
    other = plan(of(classification, threat={"norm": "linf", "eps": [0.01]}))
    assert {row.knowledge: draws(other, row) for row in other.rows if row.label.startswith("noise")} == {
        "clean": 40,
        "adaptive": 0,
    }
    whole = plan(of(retrieval, threat={"norm": "linf", "eps": [0.01]}))
    assert not any(draws(whole, row) for row in whole.rows)


def test_a_row_says_what_is_certified_and_the_page_draws_it(classification: Make, ran: Run) -> None:
    folder, audit = ran(of(classification))
    clean, attacked = [each for each in audit.cells if each.defense.startswith("noise")]
    found = clean.certification
    assert found is not None
    assert attacked.certification is None
    assert (found.draws, found.sigma, len(found.radii)) == (40, 0.25, clean.n)
    assert found.radii == sorted(found.radii, reverse=True)
    assert found.right.value == sum(radius > 0 for radius in found.radii) / clean.n
    assert [check.status for check in attacked.health if check.check == "certificates hold"] == ["pass"]
    page = (folder / "report.html").read_text("utf-8")
    assert "What is certified, and what attacks leave" in page
    (promise,) = promises(blocks(audit))
    assert promise.attacked == [attacked]
    assert "<svg" in certified_curve(promise)
    assert f"of {clean.n} inputs" in certified_sentence(promise)


def test_the_share_within_a_radius_counts_right_answers_alone() -> None:
    none = Metric(value=0, low=0, high=1)
    found = Certification(
        draws=10, confidence=0.9, sigma=0.5, abstained=none, right=none, median=0.2, radii=[0.5, 0.4, 0.2, 0.0]
    )
    assert [at_least(found, radius).value for radius in (0.0, 0.2, 0.3, 0.6)] == [0.75, 0.75, 0.5, 0.0]


def test_an_input_that_is_led_away_within_its_radius_breaks_the_promise() -> None:
    def checked(answers: list[int], eps: float = 0.3) -> list[tuple[str, str]]:
        attacked = cell(knowledge="adaptive").model_copy(update={"threat": ThreatRow(norm="l2", eps=eps)})
        rows: list[SampleRecord] = [
            {"sample": name, "certified": answer, "radius": 0.1} for name, answer in zip("abc", answers, strict=True)
        ]
        clean = {"a": (4, 0.5), "b": (5, 0.31), "c": (6, 0.2)}
        return [(one.status, one.detail) for one in kept(Row(attacked, rows, Evidence(certified=clean)))]

    assert checked([4, -1, 0]) == [("pass", "0 of 2 inputs that are certified at 0.3 were led to another class")]
    assert checked([4, 6, 0])[0][0] == "fail"
    assert "b is one" in checked([4, 6, 0])[0][1]
    assert checked([4, 6, 0], eps=0.4) == [
        ("pass", "0 of 1 inputs that are certified at 0.4 were led to another class")
    ]
