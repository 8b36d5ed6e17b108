"""What a reader meets: figures with intervals, marked words, fingers, and checks that can fail."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from secondlook.audit.exhibit import CaptionExhibit, MapExhibit
from secondlook.audit.finish import read_audit, write_page
from secondlook.audit.report.console import render
from secondlook.audit.report.sweeps import panels
from secondlook.audit.report.verdict import verdicts
from secondlook.audit.report.words import title
from secondlook.audit.schema import Audit, Cell
from secondlook.metrics.bleu import bleu
from tests.audit.report.test_page import parsed
from tests.audit.single import world
from tests.audit.single.conftest import Make, Run
from tests.audit.single.test_run import name, rows


def cell(audit: Audit, climbed: str, knowledge: str = "adaptive") -> Cell:
    return next(c for c in audit.cells if name(c) == climbed and c.knowledge == knowledge)


def said(audit: Audit, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    render(audit, console)
    return console.export_text()


def test_figures_are_those_of_the_records(telling: Make, audited: Run) -> None:
    folder, audit = audited(telling())
    found, shades = rows(folder), world.Shades(9)
    for climbed in ("untargeted", "targeted"):
        records = [found[climbed, sample] for sample in shades.ids]
        metrics = cell(audit, climbed).metrics
        for shown, column in (("right", "original_top1"), ("said", "said"), ("cider", "cider"),
                              ("verbatim", "verbatim"), ("reached", "reached")):  # fmt: skip
            mean = sum(record[column] for record in records) / 9
            assert metrics[shown].value == pytest.approx(mean)
            assert metrics[shown].low <= mean <= metrics[shown].high
        references = [shades.captions(row) for row in range(9)]
        assert metrics["bleu4"].value == bleu([r["text"] for r in records], references)
        assert metrics["bleu4"].low <= metrics["bleu4"].value <= metrics["bleu4"].high
        assert "whole" not in metrics
    assert cell(audit, "clean", "clean").metrics["cider"].value > 0
    assert audit.provenance["known of the images"] == "their captions alone"


def test_claims_are_counted_where_the_truth_is_known(telling: Make, audited: Run) -> None:
    study = telling(models=["scenes:captioner"], task={"name": "captioning", "samples": 6},
                    knowledge=["clean"])  # fmt: skip
    folder, audit = audited(study)
    records = [json.loads(line) for line in (folder / "records.jsonl").open()]
    metrics = audit.cells[0].metrics
    true, claims = (sum(record[key] for record in records) for key in ("true", "claims"))
    assert metrics["claims"].value == pytest.approx(true / claims)
    assert metrics["whole"].value == sum(record["whole"] for record in records) / 6
    assert metrics["right"].value > 0.6


def test_each_goal_has_a_headline_of_its_own(telling: Make, audited: Run) -> None:
    """Who says the attacker's thing does not say the right one: it counts for both."""
    folder, audit = audited(telling())
    assert [each.name for each in verdicts(audit)] == [
        "undefended (untargeted)", "undefended (targeted)",
    ]  # fmt: skip
    deeds = [verdict.deed for verdict in verdicts(audit)]
    assert deeds == ["keeps the caption from being right on", "gets their own thing said of"]
    spoilt, theirs = audit.headline
    assert spoilt.worst_reached is not None and theirs.worst_reached is not None
    found, shades = rows(folder), world.Shades(9).ids
    lost = sum(
        not all(found[wish, sample]["original_top1"] for wish in ("untargeted", "targeted"))
        for sample in shades
    )
    assert len(spoilt.rows) == 2 and spoilt.worst_reached.value == pytest.approx(lost / 9)
    assert spoilt.worst_reached.low <= lost / 9 <= spoilt.worst_reached.high
    assert theirs.rows == [cell(audit, "targeted").id]
    reached = cell(audit, "targeted").metrics["reached"]
    assert theirs.worst_reached.value == pytest.approx(reached.value)


def test_a_defence_without_its_adaptive_row_has_no_headline(telling: Make, audited: Run) -> None:
    defences = [{"name": "undefended"}, {"name": "jpeg"}]
    _, audit = audited(telling(defences=defences, knowledge=["clean", "oblivious"]))
    reasons = [h.reasons[-1] for h in audit.headline if h.defence == "jpeg"]
    assert len(reasons) == 2
    assert all("no attack in this audit knows the defence" in reason for reason in reasons)


def test_checks_are_those_of_the_attack(pointing: Make, audited: Run) -> None:
    """An attack on texts climbs nothing; to ask for a map is no optimisation."""
    _, audit = audited(pointing())
    names = {c: [check.check for check in cell(audit, c).health] for c in ("map", "recolour")}
    assert "succeeds without a bound" in names["map"] and "loss rises" in names["map"]
    assert not {"succeeds without a bound", "loss rises"} & set(names["recolour"])
    assert not any("queries" in check for checks in names.values() for check in checks)
    clean = cell(audit, "clean", "clean")
    assert [check.check for check in clean.health] == [
        "enough samples", "deterministic as it says",
    ]  # fmt: skip


def test_more_steps_and_a_surrogate_that_is_the_victim_are_checked(
    telling: Make, audited: Run
) -> None:
    _, audit = audited(telling(
        attack={"name": "mortal", "steps": [1, 8]}, surrogates=["python:tests.tiny:eye"],
        attacks=[{"name": "darken", "knowledge": ["transfer"]}],
    ))  # fmt: skip
    longer = next(c for c in audit.cells if c.settings["attack"].get("steps") == 8)
    checks = {check.check: check for check in longer.health}
    assert checks["more steps does not help the defender"].status == "pass"
    assert checks["stronger than transfer"].status == "pass"
    moved = cell(audit, "darken", "transfer")
    assert moved.surrogates == ["tiny:eye"] and moved.goal == "unsay"
    assert {check.check for check in moved.health} >= {"surrogate is another model"}
    assert "loss rises" not in {check.check for check in moved.health}


def test_the_page_shows_what_is_said_before_and_after(telling: Make, audited: Run) -> None:
    folder, audit = audited(telling(exhibits=9))
    page = (folder / "report.html").read_text()
    read = parsed(page)
    assert read.open == [] and "gallery" in read.ids
    found = rows(folder)
    shown = [CaptionExhibit.model_validate(e)
             for e in json.loads((folder / "gallery.json").read_text())]  # fmt: skip
    assert len(shown) == 9 and {one.aim for one in shown} == {"untargeted", "targeted"}
    for one in shown:
        before, after = found["clean", one.sample], found[one.aim, one.sample]
        assert " ".join(word.text for word in one.after) == after["text"]
        changed = before["text"].split()[0] != after["text"].split()[0]
        assert [word.changed for word in one.after] == [changed, False]
        assert [word.changed for word in one.before] == [changed, False]
        assert bool(one.target) == (one.aim == "targeted")
        assert one.right == (after["outcome"] == "correct")
    assert page.count("<mark>") == page.count("<del>") > 0
    assert write_page(folder).read_text() == page and read_audit(folder) == audit


def test_the_page_shows_where_the_finger_points(pointing: Make, audited: Run) -> None:
    folder, _ = audited(pointing(exhibits=3))
    page, found = (folder / "report.html").read_text(), rows(folder)
    assert parsed(page).open == []
    for each in json.loads((folder / "gallery.json").read_text()):
        one = MapExhibit.model_validate(each)
        after = found[one.aim or one.attack, one.sample]
        assert [one.after.x, one.after.y] == after["peak"] and one.before.hit
        assert f'cx="{100 * one.after.x:.2f}" cy="{100 * one.after.y:.2f}"' in page
        assert sum(word.changed for word in one.altered) == sum(after.get("words", [0]))


def test_the_console_says_cider_as_a_number_and_shares_in_percent(
    telling: Make, audited: Run
) -> None:
    _, audit = audited(telling())
    text = said(audit)
    value = cell(audit, "clean", "clean").metrics["cider"].value
    assert "right, %" in text and "CIDEr-D" in text and "CIDEr-D, %" not in text
    assert f"{value:.2f} [" in text
    assert "CIDEr-D" not in said(audit, width=90)
    assert [title(metric) for metric in ("iou50", "bleu4")] == ["IoU ≥ 0.5", "BLEU-4"]


def test_budgets_make_curves(telling: Make, audited: Run) -> None:
    _, audit = audited(telling(threat={"eps": ["8/255", "24/255"]}))
    (panel,) = panels(audit.cells)
    assert panel.axis == "eps" and panel.metrics == ("said", "right") and len(panel.lines) == 2


def test_a_gallery_of_a_shard_shows_what_it_has(telling: Make, tmp_path: Path) -> None:
    from secondlook.audit.api import run_study
    from secondlook.audit.run import Shard

    run_study(telling(exhibits=9), tmp_path / "part", Shard(2, 3))
    shown = json.loads((tmp_path / "part" / "gallery.json").read_text())
    assert [one["sample"] for one in shown] and len(shown) < 9
