"""The page and the console of an untargeted audit: triples, controls, areas, risk, members."""

import io
from typing import Any

import pytest
from rich.console import Console

from secondlook.audit.report import curves, outcomes
from secondlook.audit.report.matrix import attacker_name, blocks, verdicts
from secondlook.audit.report.page import html
from secondlook.audit.report.text import render
from secondlook.schema import Audit, Cell, Member, Metric, Outcomes, RiskCurve
from tests.audit.report.conftest import cell, headline, share
from tests.audit.report.test_page import parsed


def untargeted(knowledge: str, wrong: float, rejected: float, **changes: Any) -> Cell:
    """A row of one hundred images with these shares."""
    correct = 1 - wrong - rejected
    made = cell(knowledge, wrong, correct, **changes)
    values = {
        "success": wrong,
        "accuracy": correct,
        "correct": correct,
        "wrong": wrong,
        "rejected": rejected,
        "coverage": 1 - rejected,
        "correct_or_rejected": 1 - wrong,
        "selective_accuracy": correct / (1 - rejected),
        "asr_conditional": wrong,
        "original_top1": correct,
    }
    metrics = {name: share(value) for name, value in values.items()} | {
        "aurc": share(0.2),
        "accuracy_drop": Metric(value=0.5, low=0.4, high=0.6),
        "suspicion": Metric(value=0.1, low=0.0, high=0.2, sd=0.1),
    }
    return made.model_copy(
        update={
            "goal": "untargeted",
            "metrics": metrics,
            "outcomes": Outcomes(
                correct=round(100 * correct), wrong=round(100 * wrong), rejected=round(100 * rejected)
            ),
            "controls": {
                "always_accept": {"correct_or_rejected": share(0.37)},
                "always_reject": {"correct_or_rejected": share(1.0)},
            },
            "risk": RiskCurve(coverage=[0.5, 1.0], risk=[0.0, wrong]),
        }
    )


def attack(row: Cell, name: str, **settings: Any) -> Cell:
    return row.model_copy(
        update={
            "attack": name,
            "id": f"{row.id}-{name}-{settings}",
            "settings": {**row.settings, "attack": {"name": name, **settings}},
        }
    )


@pytest.fixture(scope="module")
def audit() -> Audit:
    rows = [untargeted("clean", 0.02, 0.05)] + [
        untargeted("adaptive", wrong, rejected, eps=eps / 255)
        for eps, wrong, rejected in ((2, 0.1, 0.2), (4, 0.4, 0.25), (8, 0.7, 0.1))
    ]
    rows[-1] = rows[-1].model_copy(
        update={
            "members": {"apgd-ce": Member(fooled=share(0.6), n=100), "square": Member(fooled=share(0.25, 40), n=40)}
        }
    )
    head = headline(
        [rows[0], rows[-1]],
        goal="untargeted",
        worst_target_top1=None,
        worst_reached=share(0.7),
        clean_rejected=share(0.05),
    )
    return Audit(study="u", title="", provenance={}, cells=rows, headline=[head])


def test_the_verdict_says_what_such_an_attacker_does(audit: Audit) -> None:
    (said,) = verdicts(audit)
    assert said.sentence.startswith(
        "consensus scenes:vae: an attacker who knows the defense gets a wrong answer accepted on "
        "70 % of images [60, 78] (n = 100)"
    )


def test_the_table_shows_the_triple_and_says_nothing_twice(audit: Audit) -> None:
    (block,) = blocks(audit)
    shown, details = ([c.metric for c in each] for each in (block.columns, block.details))
    assert shown == ["correct", "wrong", "rejected", "coverage"]
    assert not {"success", "accuracy", "original_top1", *shown} & set(details)
    assert {"aurc", "correct_or_rejected", "accuracy_drop"} <= set(details)


@pytest.mark.parametrize("width", [80, 100])
def test_the_console_shows_all_three_at_any_width_and_leaves_room_for_names(audit: Audit, width: int) -> None:
    file = io.StringIO()
    render(audit, Console(file=file, width=width, color_system=None))
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    figures = ("20 [13, 29]", "70 [60, 78]", "10 [6, 17]")
    rows = [[line.find(figure) for figure in figures] for line in lines]
    assert any(min(places) >= 20 and places == sorted(places) for places in rows)


def test_the_page_is_whole_and_has_every_part(audit: Audit) -> None:
    read = parsed(html(audit, []))
    assert read.open == [] and len(read.ids) == len(set(read.ids))
    assert {"curves", "outcomes", "rejection", "risk", "members"} <= set(read.ids)
    words = " ".join(" ".join(read.text).split())
    for text in (
        "rejecting everything",
        "37 % [28, 47]",
        "square 25 % [14, 40] (n = 40)",
        "clean images rejected: 5 % [2, 11]",
        "+50.0 [+40.0, +60.0] points",
    ):
        assert text in words, text
    assert "target top-1" not in words


def test_areas_stack_to_the_whole_from_no_change_on(audit: Audit) -> None:
    (curve,) = curves.sweeps(audit.cells)
    assert [round(x * 255) for x in curve.xs] == [0, 2, 4, 8]
    assert [c.knowledge for c in curve.cells] == ["clean"] + ["adaptive"] * 3
    assert all(curves.height(c, 3) == pytest.approx(1) for c in curve.cells)
    drawn = curves.areas(curve)
    assert [drawn.count(f'class="o-{kind}"') for kind in curves.STACK] == [1, 1, 1]
    assert "at 8: 20 % correct, 10 % rejected, 70 % wrong" in drawn


def test_a_targeted_audit_has_no_areas_and_no_risk(make_cell: Any) -> None:
    rows = [make_cell("clean", 0, 1)] + [make_cell("adaptive", 0.5, 0.5, eps=e) for e in (0.1, 0.2)]
    targeted = Audit(study="t", title="", provenance={}, cells=rows, headline=[])
    assert curves.sweeps(rows) == []
    assert not any(outcomes.risky(group) for block in blocks(targeted) for group in block.groups)
    assert not {"rejection", "risk", "members"} & set(parsed(html(targeted, [])).ids)


def test_risk_is_drawn_for_no_attack_and_for_the_largest_budget(audit: Audit) -> None:
    (group,) = blocks(audit)[0].groups
    assert outcomes.risky(group)
    drawn = outcomes.risks(group)
    assert drawn.count("<path") == drawn.count("<circle") == 2
    assert "accepts 90 %, 78 % of that wrong" in drawn


def test_attacks_of_several_names_are_told_apart_and_beliefs_are_always_said() -> None:
    row = untargeted("adaptive", 0.5, 0.1)
    rows = [
        attack(row, "apgd", loss="ce", kappa=1.0, instead={}),
        attack(row, "apgd", loss="ce", kappa=3.0, instead={}),
        attack(row, "square", queries=5000, instead={"opinions": "scenes:clip-vit"}),
    ]
    assert [attacker_name(each, rows) for each in rows] == [
        "adaptive · apgd · kappa 1.0",
        "adaptive · apgd · kappa 3.0",
        "adaptive · square · believes opinions scenes:clip-vit",
    ]
    assert attacker_name(rows[2], rows[2:]) == "adaptive · believes opinions scenes:clip-vit"
