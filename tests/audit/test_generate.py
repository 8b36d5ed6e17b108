"""What is attacked, and that what is scored is what a file holds, within its threat."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from secondlook.attacks.base import AttackResult, Objective
from secondlook.attacks.class_objective import over_classes
from secondlook.attacks.pgd import PGD
from secondlook.audit import store
from secondlook.audit.adversarial import AdversarialSet, load_part
from secondlook.audit.api import run_study
from secondlook.audit.generate import check, generate, generated, objective, stored
from secondlook.audit.plan import Shard, plan
from secondlook.audit.run import execute
from secondlook.audit.store import Log, Run as Directory, load_tensors
from secondlook.errors import BrokenRun, BrokenThreat
from secondlook.objectives.base import Ensemble, ThroughViews, TransferThenQuery
from secondlook.objectives.candidates import AnsweredGoal
from secondlook.objectives.untargeted import UntargetedEnsemble, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.schema import Audit
from secondlook.threat import Threat
from tests import tiny
from tests.audit import dials, shades
from tests.audit.conftest import SHADES, Make, Run, Whole
from tests.audit.settings import SHIELD


def silent(done: int, of: int, what: str) -> None:
    """Shows no progress."""


def test_the_attack_of_a_defense_s_records_is_what_the_files_hold(pictures: Path, whole: Whole) -> None:
    made, run = plan(tiny.study(pictures)), Directory(whole.folder)
    specs = {row.spec.id: row for row in made.rows if row.spec}
    assert len(specs) == 3  # The bare model's serves both defenses; transfer, and one that knows.
    for spec, row in specs.items():
        held = load_tensors(run.adversarial(spec, 0))
        assert held is not None and row.spec is not None
        clean = made.task.batch(range(12), row.guarded).pairs.images
        assert held[0]["images"].dtype == torch.uint8
        moved = (held[0]["images"] - (clean * 255).round()).abs().amax()
        assert 0 < moved <= 16
        assert held[1]["attack"] == row.spec.settings
        assert held[1]["cost"]["forwards"] > 0


def test_an_attack_that_cheats_is_caught_when_its_file_is_read(any_study: Make, tmp_path: Path) -> None:
    study = any_study()
    run = execute(plan(study), tmp_path / "run", Shard(), silent)
    path = sorted((run.folder / "adversarial").rglob("00000.safetensors"))[0]
    held = load_tensors(path)
    assert held is not None
    held[0]["images"] = 255 - held[0]["images"]
    store.save_tensors(path, held.tensors, held.about)
    (run.folder / "records.jsonl").unlink()
    with pytest.raises(BrokenThreat, match="above eps"):
        execute(plan(study), run.folder, Shard(), silent)


def test_what_is_stored_is_believed_no_further_than_the_threat(any_study: Make, ran: Run) -> None:
    study = any_study()
    folder, _ = ran(study)
    made, directory = plan(study), Directory(folder)
    row = next(row for row in made.rows if row.spec and row.objective != "cosine")
    spec, size = row.spec, study.batch
    assert spec is not None
    batch = made.task.batch(range(size), row.guarded)
    found = generated(made, directory, spec, batch, 0).adversarial
    check(found, batch, spec)
    with pytest.raises(BrokenRun, match="is damaged"):
        stored(directory, spec, made.task.batch(range(1, size + 1), row.guarded), 0)
    moved = found._replace(images=1 - batch.pairs.images)
    with pytest.raises(BrokenThreat, match="is above eps"):
        check(moved, batch, spec)


def test_more_words_than_may_be_are_caught(retrieval: Make, ran: Run) -> None:
    folder, _ = ran(retrieval())
    part = load_part(next((folder / "adversarial").glob("*/00000.safetensors")))
    made = plan(retrieval())
    assert part is not None
    spec, found = made.specs[0], part.adversarial
    batch = made.task.batch(range(4), made.rows[0].guarded)
    with pytest.raises(BrokenThreat, match="is above eps"):
        check(found, batch, replace(spec, threat=Threat(eps=39 / 255)))
    (first, *rest), *others = found.captions
    texts = ((f"{' '.join(first.split()[:-5])} green 2 blue 3 red", *rest), *others)
    with pytest.raises(BrokenThreat, match=r"\d words changed"):
        check(found._replace(captions=texts), batch, spec)


def test_a_victim_that_rejects_is_attacked_over_k_plus_one_scores(classification: Make) -> None:
    made = plan(classification(knowledge=["oblivious", "adaptive"], defenses=[{"name": "undefended"}, SHIELD]))
    attacked = [row for row in made.rows if row.spec]
    assert len(attacked) == 3
    for row in attacked:
        assert row.spec is not None
        batch = made.task.batch(range(4), row.guarded)
        wish = objective(made, row.spec, batch)
        assert isinstance(wish, UntargetedObjective) and wish.classes == 6
        shielded = row.label.startswith("multishield") and row.knowledge == "adaptive"
        assert wish.rejects == shielded
        images, keys = batch.pairs.images, batch.keys
        assert wish.losing.shape == (len(wish.logits(images, keys).scores), 2 if shielded else 1)


@pytest.mark.parametrize(("ensemble", "parts"), [("mean", 1), ("sequential", 2)])
def test_several_surrogates_are_fooled_together(classification: Make, ensemble: str, parts: int) -> None:
    made = plan(
        classification(
            surrogates=["python:tests.tiny:other", "python:tests.tiny:third"],
            knowledge=["transfer"],
            attack={"name": "illusion", "steps": 5, "ensemble": ensemble},
        )
    )
    (spec,) = made.specs
    batch: Any = made.task.batch(range(4), made.rows[0].guarded)
    wish = objective(made, spec, batch)
    assert isinstance(wish, UntargetedEnsemble) and len(wish.parts) == parts
    found = generate(made, spec, batch).adversarial
    assert bool(wish(found.images, batch.keys).success.any())


@pytest.mark.parametrize(("ensemble", "parts"), [("mean", 1), ("sequential", 2)])
def test_a_hybrid_climbs_an_ensemble_and_asks_the_victim(classification: Make, ensemble: str, parts: int) -> None:
    made = plan(
        classification(
            surrogates=["python:tests.tiny:other", "python:tests.tiny:third"],
            knowledge=["transfer"],
            attack={"name": "hybrid", "transfer_steps": 2, "queries": 5, "ensemble": ensemble},
        )
    )
    (spec,) = made.specs
    batch: Any = made.task.batch(range(4), made.rows[0].guarded)
    wish = objective(made, spec, batch)
    assert isinstance(wish, TransferThenQuery) and len(wish.surrogate.parts) == parts
    assert wish.victim.modules == made.rows[0].guarded.modules
    made_of = generate(made, spec, batch)
    assert made_of.cost["backwards"] == 4 * 2 * 2 and made_of.cost["forwards"] <= 4 * (2 * 2 + 6)


def test_several_captioners_are_attacked_together(captioning: Make) -> None:
    names = [f"{SHADES}:{name}" for name in ("second", "third")]
    made = plan(captioning(surrogates=names, attack={"name": "mortal"}, knowledge=["clean", "transfer"]))
    (spec,) = made.specs
    one = replace(spec, victims=spec.victims[:1])
    batch = made.task.batch(range(4), made.rows[0].guarded)
    both, alone = (objective(made, each, batch) for each in (spec, one))
    assert isinstance(both, Ensemble) and len(both.members) == 2 and len(both.parts) == 1
    evaluation, single = (each(batch.pairs.images, batch.keys) for each in (both, alone))
    assert torch.allclose(evaluation.loss, single.loss)
    images = [generate(made, each, batch).adversarial.images for each in (spec, one)]
    assert torch.equal(*images)


@pytest.mark.parametrize(("purifier", "darker"), [("roll", 2), ("stiff", 0)])
def test_who_knows_the_purifier_climbs_through_it_or_straight_past_it(
    captioning: Make, ran: Run, purifier: str, darker: int
) -> None:
    """Behind the roll red is seen where blue is; without its gradient red itself is darkened."""
    study = captioning(
        attack={"name": "mortal", "keep_best": False},
        knowledge=["clean", "oblivious", "adaptive"],
        defenses=[{"name": "consensus", "purifier": f"{SHADES}:{purifier}"}],
    )
    folder, audit = ran(study)
    reds = [f"shade-{row}" for row in (0, 3, 6)]
    sets = [AdversarialSet(path) for path in (folder / "adversarial").iterdir()]
    assert len(sets) == 2
    found = set()
    for made in sets:
        away = made.named(reds) - torch.stack(
            [torch.tensor(shades.Shades(9).colors[row])[:, None, None] / 255 for row in (0, 3, 6)]
        )
        channels = {tuple(c) for c in (away[:, :, 0, 0] < 0).nonzero()[:, 1].view(-1, 1).tolist()}
        assert len(channels) == 1
        found |= channels
    assert found == {(0,), (darker,)}
    assert [cell.knowledge for cell in audit.cells] == ["clean", "oblivious", "adaptive"]


def test_an_attacker_of_maps_looks_through_the_defense(grounding: Make) -> None:
    made = plan(
        grounding(attacks=[{"name": "mortal", "draws": 3}], defenses=[{"name": "noise", "sigma": 0.1, "samples": 2}])
    )
    (spec,) = made.specs
    wish = objective(made, spec, made.task.batch(range(3), made.rows[0].guarded))
    assert isinstance(wish, AnsweredGoal) and isinstance(wish.objective, ThroughViews)
    assert wish.objective.draws == 3
    assert wish.victim is wish.objective.victim is made.rows[0].guarded


@pytest.mark.parametrize("task", ["classification", "retrieval"])
def test_a_chunk_that_does_not_fit_is_attacked_in_parts(
    task: str, request: pytest.FixtureRequest, ran: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same records, and a word of it beside them."""
    study = request.getfixturevalue(task)(batch=4)
    kind, where = {"classification": (shades.MortalPGD, 1), "retrieval": (dials.Swap, 1)}[task]
    (whole, _), search = ran(study), kind.search

    def short(self: Any, *given: Any) -> Any:
        batch = given[where]
        if len(getattr(batch, "images", batch)) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return search(self, *given)

    monkeypatch.setattr(kind, "search", short)
    folder, audit = ran(study)
    assert (folder / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
    notices = [cell.notices for cell in audit.cells if cell.knowledge == "adaptive"]
    assert all("attacked 2 at a time" in told for (told,) in notices) and notices


@dataclass(frozen=True, kw_only=True)
class Pair(PGD):
    """A plain search, and a bolder one for whom it did not fool."""

    def search(self, objective: Objective, clean: torch.Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """Whom the first fools the second leaves alone."""
        over = over_classes(objective, "pair")
        first = PGD(steps=1, step=5 / 255, random_start=False).search(objective, clean, threat, keys.fold("first"))
        second = super().search(objective, clean, threat, keys.fold("second"))
        done = over(first.x, keys).success
        x = torch.where(done[:, None, None, None], first.x, second.x)
        fooled = over(x, keys).success
        by = torch.where(done, 0, torch.where(fooled, 1, -1))
        return AttackResult(x, second.trace, ("half of it is weak",), by, ("timid", "bold"))


def test_members_and_notices_are_kept_and_a_second_run_has_the_same(
    classification: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("attack", "pair")(Pair)
    study = classification(attack={"name": "pair", "steps": 8}, threat={"eps": ["8/255"]}, knowledge=["oblivious"])
    first = run_study(study, tmp_path / "run")
    cell = first.cells[-1]
    assert list(cell.members) == ["timid", "bold"] and cell.members["timid"].n == 36
    fooled = cell.members["timid"].fooled.value * 36
    assert 0 < fooled < 36 and cell.members["bold"].n == 36 - round(fooled)
    assert cell.notices == ["half of it is weak"]
    assert [h.status for h in cell.health if h.check == "the attack's own flags"] == ["warn"]
    # Records that are lost are made again from the stored adversarials, members and all.
    records = tmp_path / "run" / "records.jsonl"
    assert {record.get("by") for record in Log(records)} <= {None, -1, 0, 1}
    whole = records.read_bytes()
    records.write_bytes(whole[: len(whole) // 2])
    monkeypatch.setattr("secondlook.audit.generate.generate", None)
    again = run_study(study, tmp_path / "run")
    assert records.read_bytes() == whole
    assert again.cells[-1].members == cell.members and again.cells[-1].notices == cell.notices
    assert "half of it is weak" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_whoever_believes_wrongly_gets_no_further(classification: Make, ran: Callable[..., tuple[Path, Audit]]) -> None:
    beliefs = [{}, {"auxiliary": ["python:tests.tiny:other"], "threshold": [0.001, 0.1]}]
    _, audit = ran(
        classification(
            knowledge=["adaptive"],
            defenses=[SHIELD],
            attack={"name": "pgd", "steps": 8},
            adaptive={"steps": 20, "instead": beliefs},
        )
    )
    rows = [cell for cell in audit.cells if cell.knowledge == "adaptive"]
    assert len(rows) == 3
    assert rows[0].metrics["success"].value >= max(r.metrics["success"].value for r in rows[1:])
    assert "instead" not in rows[0].settings["attack"]
    assert rows[1].settings["attack"]["instead"]["auxiliary"] == "python:tests.tiny:other"
