"""A gate is held by the end of an interval, void where a check failed, and told where it names nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

import secondlook as sl
from secondlook.audit.gate import Gate, Outcome, check_gates, junit, status, summary
from secondlook.errors import InvalidInput
from secondlook.schema import Audit, Check
from tests.cli.test_cli import Ended, secondlook

__all__ = ["secondlook"]


@pytest.fixture(scope="module")
def audit() -> Audit:
    return sl.evaluate(
        "scenes:classifier",
        "scenes:test",
        attacks=["fgsm"],
        defenses=["undefended", "jpeg"],
        samples=32,
        eps=8 / 255,
        progress=False,
    )


def outcome(audit: Audit, text: str) -> Outcome:
    (found,) = check_gates(audit, [Gate.parse(text)])
    return found.outcome


def test_the_end_of_the_interval_decides(audit: Audit) -> None:
    clean = next(cell for cell in audit.cells if cell.defense == "jpeg" and cell.knowledge == "clean")
    metric = clean.metrics["original_top1"]
    assert metric.low < metric.value
    for bound, held in ((metric.low - 1e-9, Outcome.HELD), (metric.value, Outcome.FAILED)):
        assert outcome(audit, f"jpeg.clean.original_top1>={bound}") is held
    for bound, held in ((metric.high, Outcome.HELD), (metric.value, Outcome.FAILED)):
        assert outcome(audit, f"jpeg.clean.original_top1 <= {bound}") is held
    assert outcome(audit, f"jpeg.clean.original_top1<{100 * metric.high} %") is Outcome.FAILED


def test_every_row_that_is_named_has_to_hold(audit: Audit) -> None:
    attacked = min(cell.metrics["original_top1"].low for cell in audit.cells if cell.defense == "jpeg")
    assert outcome(audit, f"jpeg.original_top1>={attacked - 1e-9}") is Outcome.HELD
    assert outcome(audit, f"jpeg.original_top1>={attacked + 0.01}") is Outcome.FAILED
    assert outcome(audit, "*.original_top1>=0") is Outcome.HELD


def test_a_failed_check_voids_and_a_part_is_not_the_whole(audit: Audit) -> None:
    check = Check(check="masked gradients", status="fail", detail="")
    cells = [cell.model_copy(update={"health": [*cell.health, check]}) for cell in audit.cells]
    void = audit.model_copy(update={"cells": cells})
    part = audit.model_copy(update={"provenance": {**audit.provenance, "shard": "1/2"}})
    gate = "jpeg.clean.original_top1>=0"
    assert outcome(void, gate) is Outcome.VOID and outcome(part, gate) is Outcome.INCOMPLETE
    found = check_gates(void, [Gate.parse(gate)])
    assert "masked gradients failed" in found[0].sentence and status(found) == 3
    assert status([*check_gates(audit, [Gate.parse(gate)]), *check_gates(part, [Gate.parse(gate)])]) == 4


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("jpg.clean.original_top1>=0", "did you mean jpeg"),
        ("jpeg.clean.original_top>=0", "did you mean .*original_top1"),
        ("jpeg.black-box.success<=1", "it has adaptive, clean, oblivious|it has clean, oblivious"),
        ("jpeg.clean.original_top1", "is no gate"),
        ("jpeg.clean.original_top1>=1.2.3", "1.2.3 is no number"),
        ("", "is no gate"),
    ],
)
def test_a_gate_that_names_nothing_is_an_error(audit: Audit, text: str, told: str) -> None:
    with pytest.raises(InvalidInput, match=told):
        outcome(audit, text)


def test_a_pipeline_reads_what_came_of_it(audit: Audit) -> None:
    gates = [Gate.parse("jpeg.clean.original_top1>=0"), Gate.parse("undefended.clean.original_top1<=0.1")]
    found = check_gates(audit, gates)
    suite = ElementTree.fromstring(junit(audit, found))
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("2", "1", "0")
    assert suite[0].find("failure") is None and "breaks <= 0.1" in suite[1].find("failure").get("message")  # type: ignore[union-attr,operator]
    text = summary(audit, found)
    assert "| held | jpeg.clean" in text and "| failed | undefended.clean" in text


def test_the_command_ends_with_the_gate_s_status(
    secondlook: Callable[..., Ended], audit: Audit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit.save(tmp_path / "run")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "step.md"))
    good, bad = "jpeg.clean.original_top1>=0.1", "jpeg.clean.original_top1>=1"
    ended = secondlook(
        "report", "run", "--gate", good, "--gate", bad, "--junit", "out/gates.xml", "--summary", "own.md"
    )
    assert ended.status == 1 and "HELD" in ended.out and "FAILED" in ended.out
    assert ElementTree.parse(tmp_path / "out" / "gates.xml").getroot().get("failures") == "1"
    assert "## secondlook" in (tmp_path / "own.md").read_text() and not (tmp_path / "step.md").exists()
    assert secondlook("report", "run", "--gate", good).status == 0
    assert (tmp_path / "step.md").read_text().startswith("## secondlook")
    assert secondlook("report", "run", "--gate", "jpeg").status == 2
