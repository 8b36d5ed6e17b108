"""What is crafted for whom, what is shared, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from secondlook.audit.opening import opened
from secondlook.audit.rooms import NAMING, POINTING, SEARCHING, TELLING, room
from secondlook.audit.single.craft import craft, objective
from secondlook.audit.single.matrix import Plan, Row
from secondlook.audit.study import Study, parse
from secondlook.errors import InvalidInput, UnknownName
from secondlook.goals.base import Ensemble
from tests import tiny
from tests.audit.single.conftest import Make

CAPTIONS = {"name": "captioning", "data": "shades:9", "samples": 0}


def planned(study: Study) -> Plan:
    made = room(study).plan(study, None)
    assert isinstance(made, Plan)
    return made


def row(made: Plan, label: str, knowledge: str) -> Row:
    return next(c for c in made.cells if c.label == label and c.knowledge == knowledge)


def test_the_task_chooses_the_room() -> None:
    tasks = {"zeroshot": NAMING, "classification": NAMING, "retrieval": SEARCHING,
             "captioning": TELLING, "grounding": POINTING}  # fmt: skip
    for name, wanted in tasks.items():
        assert room(parse({"name": "x", "task": {"name": name}}, "the test")) is wanted


def test_an_attack_on_the_bare_model_is_made_once(telling: Make) -> None:
    """For all defences; and one that is known is attacked anew, however many captions it takes."""
    noise = [{"name": "noise", "label": f"noise {n}", "samples": n} for n in (1, 3)]
    made = planned(telling(
        defences=[{"name": "undefended"}, {"name": "jpeg"}, *noise], attack={"name": "mortal"},
        knowledge=["clean", "oblivious", "adaptive"],
    ))  # fmt: skip
    bare = row(made, "undefended", "adaptive").forge
    assert bare is not None and bare.victims[0].eye is None
    for label in ("jpeg", "noise 1"):
        assert getattr(row(made, label, "oblivious").forge, "id", "") == bare.id
        assert getattr(row(made, label, "adaptive").forge, "id", "") != bare.id
    known = [row(made, f"noise {n}", "adaptive") for n in (1, 3)]
    assert known[0].forge is not None and known[1].forge is not None
    assert known[0].forge.id == known[1].forge.id and known[0].id != known[1].id
    assert len([c for c in made.cells if c.label == "undefended"]) == 2


def test_each_objective_and_budget_is_a_row_of_its_own(telling: Make) -> None:
    made = planned(telling(threat={"eps": ["4/255", "8/255"]}))
    attacked = [cell for cell in made.cells if cell.forge]
    assert [(c.aim, round(c.threat.eps * 255)) for c in attacked if c.threat] == [
        ("untargeted", 4), ("untargeted", 8), ("targeted", 4), ("targeted", 8),
    ]  # fmt: skip
    assert len(made.probes) == 4


def test_a_text_alone_is_the_same_at_every_budget(pointing: Make) -> None:
    made = planned(pointing(attacks=[{"name": "recolour"}], threat={"eps": ["4/255", "8/255"]}))
    forges = {cell.forge.id for cell in made.cells if cell.forge}
    assert len(forges) == 1 and len(made.cells) == 3 and not made.probes


def test_joint_attacks_come_from_surrogates_that_embed(telling: Make) -> None:
    names = ["python:tests.tiny:eye", "python:tests.audit.single.world:teller"]
    made = planned(telling(
        surrogates=names, attack={}, knowledge=["clean", "transfer"],
        attacks=[{"name": "darken"}, {"name": "mortal"}],
    ))  # fmt: skip
    crafted = [cell.forge for cell in made.cells if cell.forge]
    assert [[lens.model.name for lens in forge.victims] for forge in crafted] == [
        ["tiny:eye"], ["tiny:teller"],
    ]  # fmt: skip
    assert [forge.aim for forge in crafted] == ["", "untargeted"]


def test_several_surrogates_are_attacked_together(telling: Make) -> None:
    names = [f"python:tests.audit.single.world:{name}" for name in ("teller", "second")]
    study = telling(surrogates=names, attack={"name": "mortal"}, knowledge=["clean", "transfer"])
    made = planned(study)
    (forge,) = (cell.forge for cell in made.cells if cell.forge)
    batch = made.subject.batch(range(4), None)
    both = objective(made, forge, batch)
    alone = objective(made, replace(forge, victims=forge.victims[:1]), batch)
    assert isinstance(both, Ensemble) and len(both.members) == 2 and len(both.parts) == 1
    judged, single = (each(batch.images, batch.keys) for each in (both, alone))
    assert torch.allclose(judged.loss, single.loss)
    found, _ = craft(made, forge, batch)
    assert torch.equal(
        found.images, craft(made, replace(forge, victims=forge.victims[:1]), batch)[0].images
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"models": ["python:tests.tiny:eye"]}, "tests.tiny:eye writes no captions; try scenes:"),
        ({"attack": {"name": "recolour"}}, "recolour changes captions alone, and captioning"),
        ({"attack": {"name": "darken"}, "knowledge": ["clean", "transfer"]}, "'transfer' needs"),
        (
            {"attack": {"name": "darken"}, "knowledge": ["clean", "transfer"],
             "surrogates": ["python:tests.audit.single.world:teller"]},
            "darken cannot be crafted on any of surrogates",
        ),
        ({"attack": {"name": "mortal", "objective": "map"}}, "'map' is none of this task's; there"),
        ({"prompts": ["a {}"]}, "prompts are for names of classes"),
        ({"defences": [{"name": "multishield", "opinions": "python:tests.tiny:eye"}]}, "."),
        ({"task": {**CAPTIONS, "data": "scenes:test", "samples": -1}}, "samples=-1"),
    ],
)  # fmt: skip
def test_what_does_not_fit_captioning_is_told(
    telling: Make, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(InvalidInput, match=says):
        planned(telling(**changes))


def test_an_attack_on_pairs_cannot_be_crafted_on_a_captioner(telling: Make) -> None:
    study = telling(attack={"name": "darken"})
    made, task = planned(study), opened(study, None)
    lens = row(made, "undefended", "adaptive").lens
    with pytest.raises(InvalidInput, match=r"surrogates = \[\"scenes:clip\"\]"):
        made.subject.embedder(lens, 1, "full")
    assert task.name == "captioning shades:9"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"models": ["python:tests.tiny:eye"]}, "tiny:eye has no spatial features"),
        ({"models": ["python:tests.audit.single.world:teller"]}, "embeds no images and texts"),
        ({"attacks": [{"name": "recolour", "objective": "map"}]}, "says nothing to an attack on"),
        ({"task": {"name": "grounding", "data": "shades:9"}}, "knows no boxes"),
        ({"task": {"name": "grounding", "side": -1}}, "side=-1"),
        ({"adaptive": {"draws": 0}, "attack": {"name": "mortal"}}, "draws = 0"),
    ],
)
def test_what_does_not_fit_grounding_is_told(
    pointing: Make, changes: dict[str, Any], says: str
) -> None:
    defended = [{"name": "noise"}]
    with pytest.raises(InvalidInput, match=says):
        planned(pointing(defences=defended, **changes))


def test_a_source_without_captions_is_told(telling: Make, tmp_path: Any) -> None:
    tiny.write_folder(tmp_path / "pictures", 3)
    with pytest.raises(InvalidInput, match="caption"):
        planned(telling(task={**CAPTIONS, "data": f"folder:{tmp_path / 'pictures'}"}))
    with pytest.raises(UnknownName, match="steps"):
        planned(telling(attack={"name": "mortal", "step_s": 3}))
