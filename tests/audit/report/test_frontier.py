"""The front of defenses by what they leave and cost, and what is recommended for each budget."""

from __future__ import annotations

from typing import Any

from secondlook.audit.report import html
from secondlook.audit.report.frontier import Choice, Front, front_chart, fronts, recommendation, recommended
from secondlook.schema import Audit, Cell, Check, Cost, Outcomes
from tests.audit.rows import cell

N = 200


def defended(name: str, passes: float, clean: int, left: int, rejected: int = 0, **changes: Any) -> list[Cell]:
    """A clean row and one under attack; a weaker attack stands beside it."""
    settings = {"defense": {"name": name}, "attack": {"name": "synthesis"}}

    def row(knowledge: str, correct: int, held_back: int, attack: str) -> Cell:
        outcomes = Outcomes(correct=correct, wrong=N - correct - held_back, rejected=held_back)
        cost = Cost(forwards=int(N * passes), backwards=0, seconds=1.0, overhead=passes)
        made = {**settings, "attack": {"name": attack} if attack != "none" else {}}
        return cell(
            knowledge, defense=name, outcomes=outcomes, ledger=cost, settings=made, attack=attack,
            id=f"{name}-{knowledge}-{attack}", **changes,
        )  # fmt: skip

    return [
        row("clean", clean, N - clean, "none"),
        row("adaptive", left - rejected, rejected, "synthesis"),
        row("adaptive", N - rejected, rejected, "fgsm"),
    ]


ROWS = [
    *defended("undefended", 1, 198, 0),
    *defended("a", 1.5, 196, 20),
    *defended("b", 4, 190, 60, rejected=50),
    *defended("c", 5, 190, 50),
    *defended("d", 40, 185, 120),
    *defended("e", 60, 120, 160),
]


def audit(cells: list[Cell]) -> Audit:
    return Audit(study="s", title="S", provenance={}, cells=cells, headline=[])


def choices(front: Front) -> dict[str, Choice]:
    return {each.name: each for each in front.choices}


def test_the_worst_row_counts_and_a_rejection_is_no_harm() -> None:
    (front,) = fronts(audit(ROWS))
    assert [each.name for each in front.choices] == ["a", "b", "c", "d", "e"]
    assert front.bare is not None
    assert front.bare.left.value == 0
    assert choices(front)["b"].left.value == 60 / N
    assert choices(front)["b"].passes == 4
    assert {each.name for each in front.best} == {"a", "b", "d", "e"}, "c costs more than b and leaves less"


def test_each_budget_has_the_best_that_it_affords_and_that_does_not_spoil_clean_inputs() -> None:
    (front,) = fronts(audit(ROWS))
    names = {budget: choice.name if choice else None for budget, choice in recommended(front).items()}
    assert names == {"cheap": "a", "balanced": "b", "strong": "d"}, (
        "e leaves more and loses 39 points of the clean inputs"
    )
    said = recommendation("balanced", front)
    assert "b. Against the worst attacker 30" in said
    assert "4.0 passes" in said


def test_what_a_check_has_failed_is_not_recommended() -> None:
    failed = [Check(check="gradient is not masked", status="fail", detail="masked")]
    rows = [each.model_copy(update={"health": failed}) if each.defense == "b" else each for each in ROWS]
    (front,) = fronts(audit(rows))
    balanced = recommended(front)["balanced"]
    assert balanced is not None
    assert balanced.name == "c"
    none = [each.model_copy(update={"health": failed}) for each in ROWS]
    assert recommendation("cheap", fronts(audit(none))[0]).startswith(
        "cheap (at most 3 times the passes of the bare model): none"
    )


def test_few_defenses_or_controls_make_no_front_and_the_page_shows_one_that_there_is() -> None:
    assert not fronts(audit(ROWS[:-3]))
    assert not fronts(audit([each.model_copy(update={"control": each.defense == "e"}) for each in ROWS]))
    (front,) = fronts(audit(ROWS))
    chart = front_chart(front)
    assert chart.count("<circle") == 6
    page = html(audit(ROWS), [])
    assert "What to take, for what it costs" in page
    assert "What to take" not in html(audit(ROWS[:-3]), [])
