"""A captioner behind a detector: what is held back, who knows it, and what the report is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from secondlook.audit.api import run_study
from secondlook.audit.captioning.records import Ruling, compared, record
from secondlook.audit.exhibit import CaptionExhibit
from secondlook.audit.rooms import room
from secondlook.audit.single.craft import objective
from secondlook.audit.single.matrix import Plan, Row
from secondlook.audit.single.run import merged
from secondlook.audit.store import Log
from secondlook.audit.study import Study
from secondlook.defenses.watched import Curtain, Watched
from secondlook.errors import InvalidInput
from secondlook.goals.caption import Say, Unsay
from secondlook.goals.echo import Relay, Resemble
from secondlook.goals.hearing import Hearing
from secondlook.goals.unsuspected import Unsuspected
from secondlook.tasks.captioning_told import Told
from tests.audit.single import world
from tests.audit.single.conftest import Make, Run
from tests.defenses.mirror_models import prisms

HERE = "python:tests.audit.single.world"
MIRROR = {
    "name": "mirrorcheck", "encoders": f"{HERE}:prism", "painters": f"{HERE}:brush",
    "calibrate_on": "tints:60", "false_rejection": 0.1,
}  # fmt: skip

JPEG = {
    "name": "consistency", "label": "jpeg", "views": "jpeg:75", "eyes": f"{HERE}:prism",
    "calibrate_on": "tints:60",
}  # fmt: skip


def watching(telling: Make, **changes: Any) -> Study:
    plain = {"defences": [{"name": "undefended"}, MIRROR]}
    return telling(**(plain | changes))


def planned(study: Study) -> Plan:
    made = room(study).plan(study, None)
    assert isinstance(made, Plan)
    return made


def attacked(made: Plan, defence: str, knowledge: str, aim: str) -> Row:
    (found,) = (
        c for c in made.cells
        if c.label.startswith(defence) and c.knowledge == knowledge and c.aim == aim
    )  # fmt: skip
    return found


def test_what_is_held_back_is_neither_right_nor_the_attackers(telling: Make, audited: Run) -> None:
    study = watching(telling, knowledge=["clean", "oblivious", "adaptive"])
    folder, audit = audited(study)
    rows = [r for r in Log(folder / "records.jsonl") if "suspicion" in r]
    lines = [line for line in Log(folder / "ledger.jsonl") if line.get("thresholds")]
    assert len(lines) == 1 and set(lines[0]["thresholds"]) == {"0.05", "0.1"}
    line = lines[0]["thresholds"]["0.1"]
    assert {r["outcome"] for r in rows} >= {"correct", "rejected"}
    for row in rows:
        held = row["suspicion"] > line
        assert row["rejected"] == float(held) and (row["outcome"] == "rejected") == held
        if held:
            assert row["original_top1"] == row["reached"] == row["said"] == row["wrong"] == 0
    cells = {c.id: c for c in audit.cells}
    clean = next(c for c in cells.values() if c.defence != "undefended" and c.knowledge == "clean")
    own = [r for r in rows if r["cell"] == clean.id]
    assert clean.outcomes.rejected == sum(r["rejected"] for r in own)
    assert clean.metrics["rejected"].value == pytest.approx(clean.outcomes.rejected / clean.n)


def test_holding_back_everything_gives_an_attacker_nothing(telling: Make, audited: Run) -> None:
    nothing = {**MIRROR, "false_rejection": 0.0, "most": -1.0}
    _, audit = audited(watching(telling, defences=[nothing]))
    for headline in audit.headline:
        assert headline.worst_reached is not None and headline.worst_reached.value == 0
        assert headline.worst_original_top1.value == 0
    assert all(cell.outcomes.rejected == cell.n for cell in audit.cells)


def test_who_does_not_know_the_detector_attacks_the_bare_captioner(telling: Make) -> None:
    made = planned(watching(telling, knowledge=["clean", "oblivious", "adaptive"]))
    for aim in ("untargeted", "targeted"):
        bare = attacked(made, "undefended", "adaptive", aim).forge
        blind = attacked(made, "mirrorcheck", "oblivious", aim).forge
        aware = attacked(made, "mirrorcheck", "adaptive", aim).forge
        assert bare and blind and aware and bare.id == blind.id != aware.id
        assert "weight" not in bare.settings and aware.settings["weight"] == 3.0


def test_who_knows_it_hears_what_is_said(telling: Make) -> None:
    made = planned(watching(telling))
    batch = made.subject.batch(range(4), None)
    wanted = {"targeted": (Say, Hearing), "untargeted": (Unsay, Watched)}
    for aim, (wish, watcher) in wanted.items():
        forge = attacked(made, "mirrorcheck", "adaptive", aim).forge
        assert forge is not None
        goal = objective(made, forge, batch)
        assert isinstance(goal, Unsuspected)
        assert isinstance(goal.wish, wish) and isinstance(goal.watcher, watcher)
        assert goal.captions == (batch.targets if aim == "targeted" else ())
        assert (goal.after > 0) == (aim == "untargeted")


def test_a_painting_without_a_gradient_is_refused(telling: Make) -> None:
    attack = {"name": "mortal", "objective": "targeted", "through": "painting"}
    made = planned(watching(telling, attack=attack, defences=[MIRROR, {**JPEG}]))
    says = {"mirrorcheck": "passes no gradient back to words", "jpeg": "paints nothing"}
    for label, text in says.items():
        forge = attacked(made, label, "adaptive", "targeted").forge
        assert forge is not None and forge.settings["through"] == "painting"
        with pytest.raises(InvalidInput, match=text):
            objective(made, forge, made.subject.batch(range(2), None))


def test_weights_are_rows_of_their_own_and_only_where_something_watches(telling: Make) -> None:
    attack = {"name": "mortal", "objective": "targeted", "weight": [1.0, 10.0]}
    made = planned(watching(telling, attack=attack))
    weights = [c.forge.settings.get("weight") for c in made.cells if c.forge]
    assert weights == [None, 1.0, 10.0]


def test_attackvlm_is_crafted_on_a_surrogate(telling: Make) -> None:
    aims = ["mf-it", "mf-ii"]
    made = planned(watching(
        telling, surrogates=[f"{HERE}:prism"], knowledge=["clean", "transfer"],
        attack={"name": "mortal", "objective": aims},
        task={"name": "captioning", "data": "shades:9", "samples": 0, "painter": f"{HERE}:brush"},
    ))  # fmt: skip
    batch = made.subject.batch(range(4), None)
    colours = [text.split()[0] for text in batch.targets]
    for aim in aims:
        forge = attacked(made, "undefended", "transfer", aim).forge
        assert forge is not None and [v.model.name for v in forge.victims] == ["tiny:prism"]
        if aim == "mf-it":
            continue
        goal = objective(made, forge, batch)
        inner = goal.objective  # type: ignore[attr-defined]
        assert isinstance(inner, Resemble)
        assert inner.vectors.argmax(1).tolist() == [world.NAMES.index(each) for each in colours]


def asking(telling: Make, **changes: Any) -> Study:
    return watching(
        telling, surrogates=[f"{HERE}:prism"],
        task={"name": "captioning", "data": "shades:9", "samples": 0, "painter": f"{HERE}:brush"},
        attacks=[{"name": "attackvlm", "objective": "mf-tt", "knowledge": ["transfer", "adaptive"],
                  "transfer_steps": 2, "steps": 1, "queries": 2}],
        attack={}, **changes,
    )  # fmt: skip


def test_questions_go_to_the_bare_captioner_or_to_all_of_it(telling: Make) -> None:
    made = planned(asking(telling))
    batch = made.subject.batch(range(4), None)
    for knowledge, guarded in (("transfer", False), ("adaptive", True)):
        forge = attacked(made, "mirrorcheck", knowledge, "mf-tt").forge
        assert forge is not None and forge.asked is not None
        goal = objective(made, forge, batch)
        assert isinstance(goal, Relay)
        assert isinstance(goal.victim.captioner, Curtain) == guarded


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"surrogates": [f"{HERE}:prism", "python:tests.tiny:eye"]}, "starts from one surrogate"),
        ({"surrogates": [f"{HERE}:teller"]}, "cannot be crafted on any of surrogates"),
    ],
)
def test_who_asks_starts_from_one_embedder(
    telling: Make, changes: dict[str, Any], says: str
) -> None:
    study = asking(telling).model_copy(update=changes)
    with pytest.raises(InvalidInput, match=says):
        planned(study)


def test_a_surrogates_goal_needs_a_surrogate(telling: Make) -> None:
    study = watching(telling, attack={"name": "mortal", "objective": "mf-it"})
    with pytest.raises(InvalidInput, match=r"'mf-it' is crafted on a surrogate .*\[\"transfer\"\]"):
        planned(study)


def test_only_who_can_ask_may_want_an_answer(telling: Make) -> None:
    table = {"name": "mortal", "objective": "mf-tt", "knowledge": ["transfer"]}
    study = watching(telling, surrogates=[f"{HERE}:prism"], attacks=[table], attack={})
    with pytest.raises(InvalidInput, match="mortal asks nobody; take attackvlm, rgf or square"):
        planned(study)


def test_behind_a_purifier_the_answers_are_of_what_it_shows(telling: Make) -> None:
    roll = {"name": "consensus", "purifier": f"{HERE}:roll", "label": "roll"}
    study = asking(telling)
    made = planned(study.model_copy(update={"defences": [{"name": "undefended"}, roll]}))
    batch = made.subject.batch(range(6), None)
    said = {}
    for label in ("undefended", "roll"):
        forge = attacked(made, label, "adaptive", "mf-tt").forge
        assert forge is not None
        goal = objective(made, forge, batch)
        assert isinstance(goal, Relay)
        said[label] = goal.victim.captioner.caption(batch.images, batch.keys)
    turned = {"red": "green", "green": "blue", "blue": "red"}
    first = [[text.split()[0] for text in said[label]] for label in said]
    assert first[1] == [turned[colour] for colour in first[0]]


def test_who_asks_a_known_defence_still_names_the_surrogate(telling: Make, audited: Run) -> None:
    _, audit = audited(asking(telling))
    (cell,) = (c for c in audit.cells if c.defence != "undefended" and c.knowledge == "adaptive")
    assert cell.surrogates == ["tiny:prism"]


def test_a_suspicion_is_of_one_look_and_shares_are_of_all() -> None:
    looks = [
        [{"suspicion": 0.1, "rejected": 0.0, "reached": 1.0}],
        [{"suspicion": 0.9, "rejected": 1.0, "reached": 0.0}],
    ]
    (row,) = merged(looks)
    assert (row["suspicion"], row["rejected"], row["reached"]) == (0.1, 0.5, 0.5)


def test_what_is_held_back_scores_nothing() -> None:
    ruled = record(told("red again", True, False), False, Ruling(0.9, accepted=False))
    assert ruled["cider"] == ruled["target_cider"] == ruled["original_top1"] == 0
    assert ruled["outcome"] == "rejected" and ruled["text"] == "red again"


def test_it_is_not_calibrated_on_what_is_evaluated(telling: Make) -> None:
    with pytest.raises(InvalidInput, match="also calibrated on, shade-0 is one"):
        planned(watching(telling, defences=[{**MIRROR, "calibrate_on": "shades:60"}]))


def test_a_finger_cannot_be_held_back(pointing: Make) -> None:
    with pytest.raises(InvalidInput, match="MirrorCheck detects, and grounding"):
        planned(pointing(defences=[MIRROR]))


def test_the_gallery_shows_what_was_painted(telling: Make, audited: Run) -> None:
    folder, _ = audited(watching(telling, defences=[MIRROR]))
    shown = json.loads((folder / "gallery.json").read_text())
    assert shown
    for each in (CaptionExhibit.model_validate(one) for one in shown):
        assert each.watched is not None and len(each.watched.paintings) == 1
    assert "painted of what is said" in (folder / "report.html").read_text()


def told(text: str, right: bool, said: bool) -> Told:
    return Told(
        id="x", text=text, target="blue again", cider=1.0, target_cider=0.0, verbatim=said,
        truth=None, right=right, said=said,
    )  # fmt: skip


def test_readers_compare_what_is_said_with_what_is_wanted() -> None:
    rows = compared(prisms(2), ["plain blue", "", "plain red"], ["a blue", "a blue", "a blue"])
    assert [row["text_score prism 0"] for row in rows] == pytest.approx([1, -1, 0])
    assert [row["text_score"] for row in rows] == pytest.approx([1, -1, 0])
    assert compared((), ["a"], ["b"]) == [{}]


def test_without_a_detector_a_record_says_nothing_of_one() -> None:
    plain = record(told("red again", True, False), unsaying=True, ruling=None)
    assert plain["outcome"] == "correct" and "rejected" not in plain and plain["wrong"] == 0.0


def test_runs_that_were_killed_end_alike(telling: Make, tmp_path: Path, audited: Run) -> None:
    study = watching(telling, defences=[MIRROR])
    _, whole = audited(study)
    world.Mortal.deadline = len(world.Mortal.made) + 2
    folder = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        run_study(study, folder)
    world.Mortal.deadline = -1
    again = run_study(study, folder)
    assert [c.metrics for c in again.cells] == [c.metrics for c in whole.cells]
