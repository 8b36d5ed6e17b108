"""Which rows a study makes, what they share, and what each of their hashes depends on."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secondlook import data
from secondlook.audit.plan import CellPlan, Plan, plan
from secondlook.audit.rooms import room
from secondlook.audit.study import read, shipped
from secondlook.errors import InvalidInput, SecondlookError
from secondlook.models import listed
from tests import tiny


@pytest.fixture
def planned(pictures: Path) -> Callable[..., Plan]:
    return lambda **changes: plan(tiny.study(pictures, **changes))


def row(made: Plan, defence: str, knowledge: str) -> CellPlan:
    (found,) = [
        c for c in made.cells if c.defence.registered_name == defence and c.knowledge == knowledge
    ]
    return found


def test_every_defence_has_every_row(planned: Callable[..., Plan]) -> None:
    made = planned()
    knowledge = ["clean", "oblivious", "transfer", "adaptive"]
    assert [(c.label, c.knowledge) for c in made.cells] == [
        (label, known)
        for label in ("undefended", "consensus python:tests.tiny:shift") for known in knowledge
    ]  # fmt: skip
    assert len({c.id for c in made.cells}) == 8


def test_who_is_attacked_follows_from_what_is_known(planned: Callable[..., Plan]) -> None:
    made = planned()
    forge = {known: row(made, "consensus", known).forge for known in ("oblivious", "transfer")}
    adaptive = row(made, "consensus", "adaptive")
    assert row(made, "consensus", "clean").forge is None
    assert adaptive.forge is not None and adaptive.forge.victims == (adaptive.defence,)
    assert adaptive.forge.draws == 8 and adaptive.forge.attack.steps == 24
    for known, name in (("oblivious", "tiny:eye"), ("transfer", "tiny:other")):
        (victim,) = forge[known].victims
        assert (victim.registered_name, victim.model.name) == ("undefended", name)
        assert forge[known].attack.steps == 8 and forge[known].draws == 1
        # Defences share what does not know them.
        assert row(made, "undefended", known).forge.id == forge[known].id
    # To know an undefended model is to know no more than the model.
    assert row(made, "undefended", "adaptive").forge.id == forge["oblivious"].id
    assert forge["transfer"].id != forge["oblivious"].id


def test_each_adaptive_attack_is_probed_without_a_bound(planned: Callable[..., Plan]) -> None:
    made = planned()
    known = {c.forge.id for c in made.cells if c.knowledge == "adaptive" and c.forge}
    assert set(made.probes) == known
    for forge, probe in made.probes.items():
        assert probe.threat.eps == 1 and probe.threat.norm == "linf"
        assert probe.id != forge
        # Its steps reach across the whole range.
        assert probe.attack.steps * probe.attack.length(0, probe.threat) >= 1


def test_sweeps_multiply(planned: Callable[..., Plan]) -> None:
    made = planned(
        threat={"eps": ["4/255", "8/255"]}, attack={"name": "pgd", "steps": [1, 2, 3]},
        adaptive={"gradient": ["full", "bpda"]}, knowledge=["oblivious", "adaptive"],
        defences=[{"name": "noise", "sigma": [0.1, 0.2], "samples": [1, 3]}],
    )  # fmt: skip
    count = {known: sum(c.knowledge == known for c in made.cells) for known in
             ("clean", "oblivious", "adaptive")}  # fmt: skip
    assert count == {"clean": 4, "oblivious": 4 * 3 * 2, "adaptive": 4 * 3 * 2 * 2}
    assert len({c.id for c in made.cells}) == sum(count.values())


def test_the_same_row_twice_is_one_row(planned: Callable[..., Plan]) -> None:
    twice = planned(models=["python:tests.tiny:eye"] * 2, defences=[{"name": "undefended"}] * 2)
    assert len(twice.cells) == 4


ID_CHANGES: dict[str, dict[str, Any]] = {
    "eps": {"threat": {"eps": ["15/255"]}},
    "norm": {"threat": {"eps": ["16/255"], "norm": "l2"}},
    "steps": {"attack": {"name": "illusion", "steps": 9, "step": 3 / 255}},
    "attack": {"attack": {"name": "pgd", "steps": 8, "step": 3 / 255}},
    "batch": {"batch": 13},
    "model": {"models": ["python:tests.tiny:other"], "surrogates": ["python:tests.tiny:eye"]},
}


@pytest.mark.parametrize("what", ID_CHANGES)
def test_adversarials_are_not_taken_for_others(planned: Callable[..., Plan], what: str) -> None:
    known = ["oblivious", "transfer"]
    before, after = planned(knowledge=known), planned(knowledge=known, **ID_CHANGES[what])
    assert not {c.id for c in before.cells if c.forge} & {c.id for c in after.cells if c.forge}
    forges = [{c.forge.id for c in made.cells if c.forge} for made in (before, after)]
    # An attack on a model is the same whether the model is then judged, or another one.
    assert bool(forges[0] & forges[1]) == (what == "model")


@pytest.mark.parametrize("key", ["draws", "gradient", "objective", "steps"])
def test_what_an_adaptive_attack_does_otherwise_is_part_of_its_row(
    planned: Callable[..., Plan], key: str
) -> None:
    change = {"draws": 3, "gradient": "bpda", "objective": "votes", "steps": 25}
    before = row(planned(), "consensus", "adaptive")
    after = row(
        planned(adaptive={"draws": 8, "steps": 24, key: change[key]}), "consensus", "adaptive"
    )
    assert before.id != after.id and before.forge and after.forge
    assert after.forge.settings[key] == change[key] and before.forge.id != after.forge.id


def test_other_images_targets_or_prompts_are_other_rows(
    planned: Callable[..., Plan], pictures: Path
) -> None:
    before = {c.id for c in planned().cells}
    source = f"folder:{pictures}"
    for change in ({"samples": 20}, {"seed": 1}, {"target": "image"}, {"prompt": "some {}"}):
        task = {"data": source, "samples": 0, **change}
        assert not before & {c.id for c in planned(task=task).cells}, change


def test_what_does_not_matter_changes_no_hash(planned: Callable[..., Plan]) -> None:
    before = [c.id for c in planned().cells]
    assert [c.id for c in planned(title="other", about="other", exhibits=0).cells] == before
    assert {c.id for c in planned(knowledge=["oblivious"]).cells} < set(before)


def test_models_that_share_a_name_are_not_taken_for_one(planned: Callable[..., Plan]) -> None:
    with pytest.raises(InvalidInput, match=r"eye and python:tests.tiny:twin both call themselves"):
        planned(models=["python:tests.tiny:eye", "python:tests.tiny:twin"])
    with pytest.raises(InvalidInput, match="give each its own name"):
        planned(surrogates=["python:tests.tiny:twin"])


def test_models_without_weights_are_told_apart(planned: Callable[..., Plan]) -> None:
    made = planned()
    assert made.hashes["tiny:eye"] != made.hashes["tiny:other"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"models": ["python:tests.tiny:eyes"]}, r"unknown factory .*'eyes'; did you mean eye"),
        ({"models": ["scene:clip"]}, r"unknown model 'scene'; did you mean scenes"),
        ({"models": ["scenes:"]}, r"names a family alone; write scenes:NAME"),
        ({"models": ["python:tests.tiny:shift"]}, "neither embeds nor classifies"),
        ({"surrogates": []}, r"knowledge 'transfer' needs surrogates"),
        ({"attack": {"name": "ilusion"}}, r"unknown attack 'ilusion'; did you mean illusion"),
        ({"attack": {"name": "pgd", "stps": 3}}, r"attack 'pgd': 'stps'; did you mean steps"),
        ({"attack": {"name": "pgd", "steps": 0}}, r"steps=0; write 1 or more"),
        ({"attack": {"name": "pgd", "steps": "many"}}, r"pgd.steps='many': .*integer"),
        ({"attack": {"name": "pgd", "steps": []}}, r"steps = \[\] sweeps over nothing"),
        ({"adaptive": {"draws": 0}}, r"draws = 0: .*greater than or equal to 1"),
        ({"adaptive": {"gradient": "bdpa"}}, r"gradient = 'bdpa': .*'full' or 'bpda'"),
        ({"adaptive": {"objective": ["cosine", "vote"]}}, r"objective = 'vote': .*or 'votes'"),
        ({"adaptive": {"drawz": 2}}, r"'drawz'"),
        ({"defences": [{"name": "concensus"}]}, r"unknown defence 'concensus'; did you mean cons"),
        ({"defences": [{"name": "noise", "samples": 0}]}, r"samples=0 .*write 1 or more"),
        ({"defences": [{"name": "noise", "sigma": 3}]}, r"sigma=3 is outside \(0, 1\]"),
        ({"defences": [{"name": "noise", "samplez": 3}]}, r"'samplez'; did you mean samples"),
        ({"defences": [{"purifier": "python:tests.tiny:eye"}]}, r"is no purifier"),
        ({"defences": [{"purifier": "scenes:nothing"}]}, r"scenes:nothing"),
        ({"plugins": ["no_such_plugin"]}, r"plugins: 'no_such_plugin': no module 'no_such_plug"),
    ],
)
def test_a_name_or_value_that_does_not_fit_is_named(
    planned: Callable[..., Plan], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(SecondlookError, match=message):
        planned(**changes)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"data": "folder:/nowhere"}, r"/nowhere cannot be read as a folder \(No such file"),
        ({"data": "folder:{tmp}"}, r"has 0 sub-folders"),
        ({"data": "foldr:x"}, r"unknown data 'foldr'; did you mean folder"),
        ({"data": "scenes:tst"}, r"unknown split of scenes 'tst'; did you mean test"),
        ({"data": "{pictures}"}, r"unknown data"),
        ({"samples": -1}, r"samples=-1; write how many images, or 0 for all"),
        ({"sample": 3}, r"'sample'; did you mean samples"),
        ({"target": "txt"}, r"zeroshot.target='txt'"),
        ({"name": "zeroshoot"}, r"unknown task 'zeroshoot'; did you mean zeroshot"),
        ({"prompt": "no place"}, r"'no place'; did you mean"),
    ],
)
def test_a_task_that_does_not_fit_is_named(
    planned: Callable[..., Plan], pictures: Path, tmp_path: Path, task: dict[str, Any], message: str
) -> None:
    given = {"data": f"folder:{pictures}", **task}
    given["data"] = given["data"].replace("{tmp}", str(tmp_path))
    given["data"] = given["data"].replace("{pictures}", str(pictures))
    with pytest.raises(SecondlookError, match=message):
        planned(task=given)


def test_the_seed_of_the_study_is_the_seed_of_its_task(planned: Callable[..., Plan]) -> None:
    assert planned(seed=5).task.task.seed == 5


def test_each_prompt_is_a_model_of_its_own(planned: Callable[..., Plan]) -> None:
    made = planned(prompts=["{}", "some {}"], knowledge=["oblivious"])
    names = ["tiny:eye “{}”", "tiny:eye “some {}”"]
    assert list(dict.fromkeys(c.defence.model.name for c in made.cells)) == names
    assert len({c.id for c in made.cells}) == len(made.cells) == 8
    assert made.hashes[names[0]] == made.hashes[names[1]] == made.hashes["tiny:eye"]


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_shipped_study_can_be_planned_where_the_weights_are(name: str) -> None:
    study = read(name)
    there = {f"scenes:{each}" for each in (*listed("scenes"), *data.listed("scenes"))}
    if lost := sorted(_asked_for(study.model_dump()) - there):
        pytest.skip(f"the embedded world has no weights of {', '.join(lost)}")
    made = room(study).plan(study, None)
    assert len({c.id for c in made.cells}) == len(made.cells) > len(study.defences)


def _asked_for(value: Any) -> set[str]:
    """What a study names of the embedded world, models and data."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return set().union(*map(_asked_for, value))
    names = value.split(",") if isinstance(value, str) else []
    return {name for name in names if re.fullmatch(r"scenes:[\w-]+", name)}
