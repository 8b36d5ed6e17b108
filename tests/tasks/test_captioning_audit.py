"""Captioning audits: captions reckoned by hand, what a detector holds back, and what is shown."""

import io
import json
from typing import Any

import pytest
from rich.console import Console

from secondlook.audit.finish import read_audit, write_page
from secondlook.audit.generate import objective
from secondlook.audit.plan import AttackSpec, Plan, opened, plan
from secondlook.audit.report.curves import panels
from secondlook.audit.report.matrix import verdicts
from secondlook.audit.report.text import render
from secondlook.audit.store import Log
from secondlook.audit.study import Study
from secondlook.errors import InvalidInput
from secondlook.metrics.bleu import bleu
from secondlook.objectives.attackvlm import MatchEmbedding, MatchThenAsk
from secondlook.objectives.candidates import AnsweredGoal
from secondlook.objectives.caption import TargetedCaption, UntargetedCaption
from secondlook.objectives.evasion import CaptionFeedback, DetectorEvasion, OwnCaptions
from secondlook.schema import Audit, Cell
from secondlook.tasks.captioning import CaptionExample, text_scores
from secondlook.tasks.view import view_of
from tests.audit import shades
from tests.audit.answers import name, rows
from tests.audit.conftest import SHADES, Make, Run
from tests.audit.report.test_page import parsed
from tests.audit.settings import MIRROR
from tests.defenses.mirror_models import prisms

EPS = 24


def corner(color: tuple[int, ...], up: set[int]) -> list[int]:
    """The corner of the ball where the channels ``up`` are brighter and the others darker."""
    return [min(255, c + EPS) if i in up else max(0, c - EPS) for i, c in enumerate(color)]


def test_every_caption_is_as_reckoned_by_hand(captioning: Make, ran: Run) -> None:
    study = captioning()
    found, world = rows(ran(study)[0]), shades.Shades(9)
    task = opened(study, None)
    wanted = {task.ids[at]: text for at, (_, text) in enumerate(task.targets)}
    assert len(found) == 3 * 9
    for row, sample in enumerate(world.ids):
        own, others = row % 3, {0, 1, 2} - {row % 3}
        target = wanted[sample]
        theirs = shades.NAMES.index(target.split()[0])
        seen = {
            "clean": list(world.colors[row]),
            "untargeted": corner(world.colors[row], others),
            "targeted": corner(world.colors[row], {theirs}),
        }
        for wish, color in seen.items():
            record = found[wish, sample]
            said = color.index(max(color))
            assert record["text"] == f"{shades.NAMES[said]} again"
            assert record["original_top1"] == float(said == own)
            assert record["said"] == record["verbatim"] == float(record["text"] == target)
            success = record["said"] if wish == "targeted" else float(said != own)
            assert record["success"] == success
            assert record["outcome"] == ("correct" if said == own else "wrong")
    kept = {found["untargeted", sample]["original_top1"] for sample in world.ids}
    assert kept == {0.0, 1.0}
    assert any(found["targeted", sample]["said"] for sample in world.ids)


JPEG = {
    "name": "consistency",
    "label": "jpeg",
    "augmentations": "jpeg:75",
    "encoders": f"{SHADES}:prism",
    "calibrate_on": "tints:60",
}


def watching(captioning: Make, **changes: Any) -> Study:
    plain = {"defenses": [{"name": "undefended"}, MIRROR]}
    return captioning(**(plain | changes))


def spec_of(made: Plan, defense: str, knowledge: str, named: str) -> AttackSpec:
    (found,) = (
        row.spec
        for row in made.rows
        if row.label.startswith(defense) and row.knowledge == knowledge and row.spec and row.objective == named
    )
    return found


def test_what_is_held_back_is_neither_right_nor_the_attackers(captioning: Make, ran: Run) -> None:
    study = watching(captioning, knowledge=["clean", "oblivious", "adaptive"])
    folder, audit = ran(study)
    rows = [r for r in Log(folder / "records.jsonl") if "suspicion" in r]
    lines = [line for line in Log(folder / "ledger.jsonl") if line.get("thresholds")]
    assert len(lines) == 1 and set(lines[0]["thresholds"]) == {"0.05", "0.1"}
    line = lines[0]["thresholds"]["0.1"]
    assert {r["outcome"] for r in rows} >= {"correct", "rejected"}
    for row in rows:
        held = row["suspicion"] > line
        assert row["rejected"] == float(held) and (row["outcome"] == "rejected") == held
        if held:
            assert row["original_top1"] == row["success"] == row["said"] == row["wrong"] == 0
    cells = {c.id: c for c in audit.cells}
    clean = next(c for c in cells.values() if c.defense != "undefended" and c.knowledge == "clean")
    own = [r for r in rows if r["cell"] == clean.id]
    assert clean.outcomes.rejected == sum(r["rejected"] for r in own)
    assert clean.metrics["rejected"].value == pytest.approx(clean.outcomes.rejected / clean.n)


def test_holding_back_everything_gives_an_attacker_nothing(captioning: Make, ran: Run) -> None:
    nothing = {**MIRROR, "false_rejection": 0.0, "threshold": -1.0}
    _, audit = ran(watching(captioning, defenses=[nothing]))
    for headline in audit.headline:
        assert headline.worst_reached is not None and headline.worst_reached.value == 0
        assert headline.worst_original_top1.value == 0
    assert all(cell.outcomes.rejected == cell.n for cell in audit.cells)


def test_who_knows_it_hears_what_is_said(captioning: Make) -> None:
    made = plan(watching(captioning))
    batch = made.task.batch(range(4), made.rows[0].guarded)
    wanted = {"targeted": (TargetedCaption, CaptionFeedback), "untargeted": (UntargetedCaption, OwnCaptions)}
    for named, (wish, watcher) in wanted.items():
        spec = spec_of(made, "mirrorcheck", "adaptive", named)
        assert spec is not None
        judged = objective(made, spec, batch)
        assert isinstance(judged, AnsweredGoal)
        goal = judged.objective
        assert isinstance(goal, DetectorEvasion)
        assert isinstance(goal.goal, wish) and isinstance(goal.detector, watcher)
        assert goal.captions == (batch.targets if named == "targeted" else ())
        assert (goal.after > 0) == (named == "untargeted")


def test_a_painting_without_a_gradient_is_refused(captioning: Make) -> None:
    attack = {"name": "mortal", "objective": "targeted", "through": "painting"}
    made = plan(watching(captioning, attack=attack, defenses=[MIRROR, {**JPEG}]))
    says = {"mirrorcheck": "passes no gradient back to words", "jpeg": "paints nothing"}
    for label, text in says.items():
        spec = spec_of(made, label, "adaptive", "targeted")
        assert spec is not None and spec.settings["through"] == "painting"
        with pytest.raises(InvalidInput, match=text):
            objective(made, spec, made.task.batch(range(2), made.rows[0].guarded))


def test_attackvlm_is_made_on_a_surrogate(captioning: Make) -> None:
    names = ["mf-it", "mf-ii"]
    made = plan(
        watching(
            captioning,
            surrogates=[f"{SHADES}:prism"],
            knowledge=["clean", "transfer"],
            attack={"name": "mortal", "objective": names},
            task={"name": "captioning", "data": "shades:9", "samples": 0, "painter": f"{SHADES}:brush"},
        )
    )
    batch = made.task.batch(range(4), made.rows[0].guarded)
    colors = [text.split()[0] for text in batch.targets]
    for named in names:
        spec = spec_of(made, "undefended", "transfer", named)
        assert spec is not None and [v.model.name for v in spec.victims] == ["tiny:prism"]
        if named == "mf-it":
            continue
        goal = objective(made, spec, batch)
        assert isinstance(goal, MatchEmbedding)
        assert goal.vectors.argmax(1).tolist() == [shades.NAMES.index(each) for each in colors]


def asking(captioning: Make, **changes: Any) -> Study:
    return watching(
        captioning,
        surrogates=[f"{SHADES}:prism"],
        task={"name": "captioning", "data": "shades:9", "samples": 0, "painter": f"{SHADES}:brush"},
        attacks=[
            {
                "name": "attackvlm",
                "objective": "mf-tt",
                "knowledge": ["transfer", "adaptive"],
                "transfer_steps": 2,
                "steps": 1,
                "queries": 2,
            }
        ],
        attack={},
        **changes,
    )


def test_questions_go_to_the_bare_captioner_or_to_all_of_it(captioning: Make) -> None:
    made = plan(asking(captioning))
    batch = made.task.batch(range(4), made.rows[0].guarded)
    for knowledge, guarded in (("transfer", False), ("adaptive", True)):
        spec = spec_of(made, "mirrorcheck", knowledge, "mf-tt")
        assert spec is not None and spec.queried is not None
        goal = objective(made, spec, batch)
        assert isinstance(goal, MatchThenAsk)
        assert bool(goal.victim.victim.detector) == guarded


def test_behind_a_purifier_the_answers_are_of_what_it_shows(captioning: Make) -> None:
    roll = {"name": "consensus", "purifier": f"{SHADES}:roll", "label": "roll"}
    study = asking(captioning)
    made = plan(study.model_copy(update={"defenses": [{"name": "undefended"}, roll]}))
    batch = made.task.batch(range(6), made.rows[0].guarded)
    said = {}
    for label in ("undefended", "roll"):
        spec = spec_of(made, label, "adaptive", "mf-tt")
        assert spec is not None
        goal = objective(made, spec, batch)
        assert isinstance(goal, MatchThenAsk)
        said[label] = goal.victim.victim.texts(batch.images, batch.keys)
    turned = {"red": "green", "green": "blue", "blue": "red"}
    first = [[text.split()[0] for text in said[label]] for label in said]
    assert first[1] == [turned[color] for color in first[0]]


def test_who_asks_a_known_defense_still_names_the_surrogate(captioning: Make, ran: Run) -> None:
    _, audit = ran(asking(captioning))
    (cell,) = (c for c in audit.cells if c.defense != "undefended" and c.knowledge == "adaptive")
    assert cell.surrogates == ["tiny:prism"]


def test_the_gallery_shows_what_was_painted(captioning: Make, ran: Run) -> None:
    folder, _ = ran(watching(captioning, defenses=[MIRROR]))
    shown = json.loads((folder / "gallery.json").read_text())
    assert shown
    for each in (CaptionExample.model_validate(one) for one in shown):
        assert each.detector is not None and len(each.detector.paintings) == 1
    assert "painted of the caption" in (folder / "report.html").read_text()


def test_readers_compare_what_is_said_with_what_is_wanted() -> None:
    rows = text_scores(prisms(2), ["plain blue", "", "plain red"], ["a blue", "a blue", "a blue"])
    assert [row["text_score prism 0"] for row in rows] == pytest.approx([1, -1, 0])
    assert [row["text_score"] for row in rows] == pytest.approx([1, -1, 0])
    assert text_scores((), ["a"], ["b"]) == [{}]


def cell(audit: Audit, climbed: str, knowledge: str = "adaptive") -> Cell:
    return next(c for c in audit.cells if name(c) == climbed and c.knowledge == knowledge)


def said(audit: Audit, width: int = 160) -> str:
    console = Console(file=io.StringIO(), width=width, record=True)
    render(audit, console)
    return console.export_text()


def test_figures_are_those_of_the_records(captioning: Make, ran: Run) -> None:
    folder, audit = ran(captioning())
    found, world = rows(folder), shades.Shades(9)
    for climbed in ("untargeted", "targeted"):
        records = [found[climbed, sample] for sample in world.ids]
        metrics = cell(audit, climbed).metrics
        for shown, column in (
            ("right", "original_top1"),
            ("said", "said"),
            ("cider", "cider"),
            ("verbatim", "verbatim"),
            ("success", "success"),
        ):
            mean = sum(record[column] for record in records) / 9
            assert metrics[shown].value == pytest.approx(mean)
            assert metrics[shown].low <= mean <= metrics[shown].high
        references = [world.captions(row) for row in range(9)]
        assert metrics["bleu4"].value == bleu([r["text"] for r in records], references)
        assert metrics["bleu4"].low <= metrics["bleu4"].value <= metrics["bleu4"].high
        assert "whole" not in metrics
    assert cell(audit, "clean", "clean").metrics["cider"].value > 0
    assert audit.provenance["known of the images"] == "their captions alone"


def test_claims_are_counted_where_the_truth_is_known(captioning: Make, ran: Run) -> None:
    study = captioning(models=["scenes:captioner"], task={"name": "captioning", "samples": 6}, knowledge=["clean"])
    folder, audit = ran(study)
    records = [json.loads(line) for line in (folder / "records.jsonl").open()]
    metrics = audit.cells[0].metrics
    true, claims = (sum(record[key] for record in records) for key in ("true", "claims"))
    assert metrics["claims"].value == pytest.approx(true / claims)
    assert metrics["whole"].value == sum(record["whole"] for record in records) / 6
    assert metrics["right"].value > 0.6


def test_each_goal_has_a_headline_of_its_own(captioning: Make, ran: Run) -> None:
    """Who says the attacker's thing does not say the right one: it counts for both."""
    folder, audit = ran(captioning())
    assert [each.name for each in verdicts(audit)] == ["undefended (untargeted)", "undefended (targeted)"]
    deeds = [verdict.deed for verdict in verdicts(audit)]
    assert deeds == ["keeps the caption from being right on", "gets their own caption for"]
    spoilt, theirs = audit.headline
    assert spoilt.worst_reached is not None and theirs.worst_reached is not None
    found, world = rows(folder), shades.Shades(9).ids
    lost = sum(not all(found[wish, sample]["original_top1"] for wish in ("untargeted", "targeted")) for sample in world)
    assert len(spoilt.rows) == 2 and spoilt.worst_reached.value == pytest.approx(lost / 9)
    assert spoilt.worst_reached.low <= lost / 9 <= spoilt.worst_reached.high
    assert theirs.rows == [cell(audit, "targeted").id]
    success = cell(audit, "targeted").metrics["success"]
    assert theirs.worst_reached.value == pytest.approx(success.value)


def test_a_defense_without_its_adaptive_row_has_no_headline(captioning: Make, ran: Run) -> None:
    defenses = [{"name": "undefended"}, {"name": "jpeg"}]
    _, audit = ran(captioning(defenses=defenses, knowledge=["clean", "oblivious"]))
    reasons = [h.reasons[-1] for h in audit.headline if h.defense == "jpeg"]
    assert len(reasons) == 2
    assert all("no attack in this audit knows the defense" in reason for reason in reasons)


def test_more_steps_and_a_surrogate_that_is_the_victim_are_checked(captioning: Make, ran: Run) -> None:
    _, audit = ran(
        captioning(
            attack={"name": "mortal", "steps": [1, 8]},
            surrogates=["python:tests.tiny:eye"],
            attacks=[{"name": "darken", "knowledge": ["transfer"]}],
        )
    )
    longer = next(c for c in audit.cells if c.settings["attack"].get("steps") == 8)
    checks = {check.check: check for check in longer.health}
    assert checks["more steps does not help the defender"].status == "pass"
    assert checks["stronger than transfer"].status == "pass"
    moved = cell(audit, "darken", "transfer")
    assert moved.surrogates == ["tiny:eye"] and moved.goal == "untargeted"
    assert {check.check for check in moved.health} >= {"surrogate is another model"}
    assert "loss rises" not in {check.check for check in moved.health}


def test_the_page_shows_what_is_said_before_and_after(captioning: Make, ran: Run) -> None:
    folder, audit = ran(captioning(examples=9))
    page = (folder / "report.html").read_text()
    read = parsed(page)
    assert read.open == [] and "gallery" in read.ids
    found = rows(folder)
    shown = [CaptionExample.model_validate(e) for e in json.loads((folder / "gallery.json").read_text())]
    assert len(shown) == 9 and {one.objective for one in shown} == {"untargeted", "targeted"}
    for one in shown:
        before, after = found["clean", one.sample], found[one.objective, one.sample]
        assert " ".join(word.text for word in one.after) == after["text"]
        changed = before["text"].split()[0] != after["text"].split()[0]
        assert [word.changed for word in one.after] == [changed, False]
        assert [word.changed for word in one.before] == [changed, False]
        assert bool(one.target) == (one.objective == "targeted")
        assert one.right == (after["outcome"] == "correct")
    assert page.count("<mark>") == page.count("<del>") > 0
    assert write_page(folder).read_text() == page
    assert read_audit(folder).model_dump() == audit.model_dump()


def test_the_console_says_cider_as_a_number_and_shares_in_percent(captioning: Make, ran: Run) -> None:
    _, audit = ran(captioning())
    text = said(audit)
    value = cell(audit, "clean", "clean").metrics["cider"].value
    assert "right, %" in text and "CIDEr-D" in text and "CIDEr-D, %" not in text
    assert f"{value:.2f} [" in text
    assert "CIDEr-D" not in said(audit, width=90)
    assert view_of("grounding").column("iou50").title == "IoU ≥ 0.5"
    assert view_of("captioning").column("bleu4").title == "BLEU-4"


def test_budgets_make_curves(captioning: Make, ran: Run) -> None:
    _, audit = ran(captioning(threat={"eps": ["8/255", "24/255"]}))
    (panel,) = panels(audit.cells)
    assert panel.axis == "eps" and len(panel.lines) == 2
    assert [column.metric for column in panel.columns] == ["said", "right"]


def test_what_is_held_back_scores_nothing_though_its_text_is_known(captioning: Make, ran: Run) -> None:
    folder, _ = ran(watching(captioning, defenses=[
        {**MIRROR, "false_rejection": 0.0, "threshold": -1.0},
    ]))  # fmt: skip
    records = list(Log(folder / "records.jsonl"))
    assert records
    for record in records:
        assert record["outcome"] == "rejected" and record["text"].endswith("again")
        for score in ("cider", "target_cider", "original_top1", "success", "verbatim", "wrong"):
            assert record[score] == 0


def test_without_a_detector_a_record_says_nothing_of_one(captioning: Make, ran: Run) -> None:
    folder, _ = ran(captioning(knowledge=["clean"]))
    for record in Log(folder / "records.jsonl"):
        assert record["outcome"] == "correct" and not {"rejected", "suspicion"} & record.keys()
