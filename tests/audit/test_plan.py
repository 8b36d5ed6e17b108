"""Which rows a study makes, what they share, and what each of their hashes depends on."""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from secondlook import data
from secondlook.audit.plan import AttackSpec, Plan, Row, Shard, chunks, partition, plan
from secondlook.audit.study import read, shipped
from secondlook.errors import InvalidInput, SecondlookError
from secondlook.models import listed
from secondlook.registry import describe
from tests import tiny
from tests.audit import shades
from tests.audit.conftest import DIALS, SHADES, Make
from tests.audit.settings import ATTACKS, JPEG, MIRROR, SHIELD


@pytest.fixture
def planned(pictures: Path) -> Callable[..., Plan]:
    return lambda **changes: plan(tiny.study(pictures, **changes))


def rows(made: Plan, defense: str, knowledge: str) -> list[Row]:
    return [r for r in made.rows if r.label.startswith(defense) and r.knowledge == knowledge]


def spec_of(made: Plan, defense: str, knowledge: str, objective: str = "") -> AttackSpec:
    (found,) = (
        row.spec for row in rows(made, defense, knowledge) if row.spec is not None and objective in ("", row.objective)
    )
    return found


def test_every_defense_has_every_row(planned: Callable[..., Plan]) -> None:
    """Of a model that nothing defends nobody can know more than the model."""
    made = planned()
    assert [(row.label, row.knowledge) for row in made.rows] == [
        *(("undefended", known) for known in ("clean", "adaptive", "transfer")),
        *(("consensus python:tests.tiny:shift", known) for known in ("clean", "oblivious", "transfer", "adaptive")),
    ]
    assert len({row.id for row in made.rows}) == 7


@pytest.mark.parametrize("name", ["undefended", "always-accept"])
def test_whoever_has_a_bare_model_knows_all_of_it(any_study: Make, name: str) -> None:
    known = ["clean", "oblivious", "adaptive"]
    made = plan(any_study(knowledge=known, defenses=[{"name": name}, JPEG]))
    bare, behind = ({r.knowledge for r in made.rows if r.label == d} for d in (name, "jpeg"))
    assert (bare, behind) == ({"clean", "adaptive"}, set(known))
    # An attack on the bare model serves every defense.
    ids = [[r.spec.id for r in rows(made, *which) if r.spec] for which in ((name, "adaptive"), ("jpeg", "oblivious"))]
    assert ids[0] == ids[1] != []
    alone = plan(any_study(knowledge=["clean", "oblivious"]))
    assert {row.knowledge for row in alone.rows} == {"clean", "oblivious"}


def test_the_clean_row_is_always_there(any_study: Make) -> None:
    made = plan(any_study(knowledge=["adaptive"], defenses=[{"name": "undefended"}, JPEG]))
    for row in made.rows:
        clean = made.clean(row)
        assert clean.knowledge == "clean" and clean.guarded is row.guarded and clean.spec is None
    assert len([row for row in made.rows if row.knowledge == "clean"]) == 2


def test_who_is_attacked_follows_from_what_is_known(planned: Callable[..., Plan]) -> None:
    made = planned()
    assert rows(made, "consensus", "clean")[0].spec is None
    (row,) = rows(made, "consensus", "adaptive")
    assert row.spec is not None and row.spec.victims == (row.guarded,)
    assert row.spec.options.draws == 8 and describe(row.spec.attack)["steps"] == 24
    for known, name in (("oblivious", "tiny:eye"), ("transfer", "tiny:other")):
        spec = spec_of(made, "consensus", known)
        (victim,) = spec.victims
        assert victim.bare and victim.model.name == name
        assert describe(spec.attack)["steps"] == 8 and spec.options.draws == 1
        # Defenses share what does not know them.
        alike = "adaptive" if known == "oblivious" else known
        assert spec_of(made, "undefended", alike).id == spec.id
    assert spec_of(made, "consensus", "transfer").id != spec_of(made, "consensus", "oblivious").id


def test_a_black_box_asks_the_defended_model_and_takes_no_gradient(planned: Callable[..., Plan]) -> None:
    square = {"name": "square", "queries": 4, "loss": ""}
    attacks = [{**square, "knowledge": ["black-box", "adaptive"]}]
    made = planned(attack={}, attacks=attacks, knowledge=["clean"], defenses=[{"name": "undefended"}, JPEG])
    assert [row.knowledge for row in made.rows] == ["clean", "black-box", "adaptive"] * 2
    asked, knows = (rows(made, "jpeg", known)[0] for known in ("black-box", "adaptive"))
    assert asked.spec is not None and asked.spec.victims == (asked.guarded,)
    # Queries are the same, whatever else is known; the bare model is asked where nothing defends it.
    assert knows.spec is not None and knows.spec.id == asked.spec.id and knows.id != asked.id
    assert spec_of(made, "undefended", "black-box").victims[0].bare
    with pytest.raises(InvalidInput, match="pgd takes gradients, and a black-box attacker has none; take square"):
        planned(attack={"name": "pgd"}, knowledge=["black-box"])


def test_each_adaptive_attack_is_tried_without_a_bound(planned: Callable[..., Plan]) -> None:
    made = planned()
    known = {r.spec.id for r in made.rows if r.knowledge == "adaptive" and r.spec}
    assert set(made.sanity) == known and len(known) == 2
    for spec, twin in made.sanity.items():
        assert twin.threat.eps == 1 and twin.threat.norm == "linf"
        assert twin.id != spec
        # Its steps reach across the whole range.
        attack: Any = twin.attack
        assert attack.steps * attack.step_length(0, twin.threat, torch.zeros(1, 3, 2, 2)) >= 1


def test_sweeps_multiply(planned: Callable[..., Plan]) -> None:
    made = planned(
        threat={"eps": ["4/255", "8/255"]},
        attack={"name": "pgd", "steps": [1, 2, 3]},
        adaptive={"gradient": ["full", "bpda"]},
        knowledge=["oblivious", "adaptive"],
        defenses=[{"name": "noise", "sigma": [0.1, 0.2], "samples": [1, 3]}],
    )
    count = {known: len(rows(made, "noise", known)) for known in ("clean", "oblivious", "adaptive")}
    assert count == {"clean": 4, "oblivious": 4 * 3 * 2, "adaptive": 4 * 3 * 2 * 2}
    assert len({row.id for row in made.rows}) == sum(count.values())


def test_each_objective_and_budget_is_a_row_of_its_own(captioning: Make) -> None:
    made = plan(captioning(threat={"eps": ["4/255", "8/255"]}))
    attacked = [row for row in made.rows if row.spec]
    assert [(r.objective, round(r.threat.eps * 255)) for r in attacked if r.threat] == [
        ("untargeted", 4),
        ("untargeted", 8),
        ("targeted", 4),
        ("targeted", 8),
    ]
    assert len(made.sanity) == 4


def test_three_sides_of_one_attack_are_made_once(retrieval: Make) -> None:
    made = plan(retrieval(threat={"eps": ["8/255", "40/255"]}))
    told = [(row.knowledge, row.variant) for row in made.rows]
    assert told == [("clean", "")] + 2 * [("adaptive", side) for side in ("query", "gallery", "both")]
    assert len({row.id for row in made.rows}) == 7 and len(made.specs) == 2


@pytest.mark.parametrize(("task", "attack"), [("grounding", "recolor"), ("retrieval", "turn")])
def test_texts_alone_are_the_same_at_every_budget(task: str, attack: str, request: pytest.FixtureRequest) -> None:
    study = request.getfixturevalue(task)
    made = plan(study(attack={}, attacks=[{"name": attack}], threat={"eps": ["4/255", "8/255"]}))
    assert len(made.specs) == 1 and not made.sanity
    assert len(made.rows) == 1 + 2 * len(made.task.variants)


def test_an_attack_on_the_bare_model_is_made_once(captioning: Make) -> None:
    """For all defenses; and one that is known is attacked anew, however many captions it takes."""
    noise = [{"name": "noise", "label": f"noise {n}", "samples": n} for n in (1, 3)]
    made = plan(
        captioning(
            defenses=[{"name": "undefended"}, {"name": "jpeg"}, *noise],
            attack={"name": "mortal"},
            knowledge=["clean", "oblivious", "adaptive"],
        )
    )
    bare = spec_of(made, "undefended", "adaptive")
    assert bare.victims[0].bare
    for label in ("jpeg", "noise 1"):
        assert spec_of(made, label, "oblivious").id == bare.id
        assert spec_of(made, label, "adaptive").id != bare.id
    one, three = (rows(made, f"noise {n}", "adaptive")[0] for n in (1, 3))
    assert one.spec and three.spec and one.spec.id == three.spec.id and one.id != three.id


def test_the_same_row_twice_is_one_row(planned: Callable[..., Plan]) -> None:
    twice = planned(models=["python:tests.tiny:eye"] * 2, defenses=[{"name": "undefended"}] * 2)
    assert len(twice.rows) == 3


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
    assert not {r.id for r in before.rows if r.spec} & {r.id for r in after.rows if r.spec}
    specs = [{r.spec.id for r in made.rows if r.spec} for made in (before, after)]
    # An attack on a model is the same whether the model is then judged, or another one.
    assert bool(specs[0] & specs[1]) == (what == "model")


@pytest.mark.parametrize("key", ["draws", "gradient", "objective", "steps"])
def test_what_an_adaptive_attack_does_otherwise_is_part_of_its_row(planned: Callable[..., Plan], key: str) -> None:
    change = {"draws": 3, "gradient": "bpda", "objective": "votes", "steps": 25}
    (before,) = rows(planned(), "consensus", "adaptive")
    adaptive = {"draws": 8, "steps": 24, key: change[key]}
    (after,) = rows(planned(adaptive=adaptive), "consensus", "adaptive")
    assert before.id != after.id and before.spec and after.spec
    assert after.spec.settings[key] == change[key] and before.spec.id != after.spec.id


def test_other_images_targets_or_prompts_are_other_rows(planned: Callable[..., Plan], pictures: Path) -> None:
    before = {r.id for r in planned().rows}
    source = f"folder:{pictures}"
    for change in ({"samples": 20}, {"seed": 1}, {"target": "image"}, {"prompt": "some {}"}):
        task = {"data": source, "samples": 0, **change}
        assert not before & {r.id for r in planned(task=task).rows}, change


def test_what_does_not_matter_changes_no_hash(planned: Callable[..., Plan]) -> None:
    before = [r.id for r in planned().rows]
    assert [r.id for r in planned(title="other", about="other", examples=0).rows] == before
    assert {r.id for r in planned(knowledge=["transfer"]).rows} < set(before)


def test_the_seed_and_the_captions_tell_attacks_apart(retrieval: Make) -> None:
    def spec(**changes: Any) -> str:
        return plan(retrieval(**changes)).specs[0].id

    task = {"name": "retrieval", "data": "dials:10", "samples": 0}
    others = [{"seed": 1}, {"task": {**task, "captions": 1}}, {"models": [f"{DIALS}:tilted"]}]
    assert len({spec(), *(spec(**change) for change in others)}) == 4
    assert spec() == spec(task={**task, "attacked": ["query"]})


@pytest.mark.parametrize("task", ["classification", "captioning"])
def test_other_calibration_images_are_other_rows(task: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    """Under the same name: the threshold comes from the pictures, and not from their folder."""
    folder = tmp_path / "held-out"
    detector = {
        "name": "consistency",
        "encoders": f"{SHADES}:prism",
        "augmentations": "jpeg:75",
        "calibrate_on": f"folder:{folder}",
        "calibrate_samples": 0,
        "false_rejection": 0.2,
    }
    found = []
    for count in (18, 12):
        shutil.rmtree(folder, ignore_errors=True)
        tiny.write_folder(folder, count)
        study = request.getfixturevalue(task)(defenses=[detector])
        found.append({row.id for row in plan(study).rows})
    assert len(found[0]) == len(found[1]) and not found[0] & found[1]


BELIEFS: dict[str, list[dict[str, Any]]] = {
    "classification": [SHIELD, {"auxiliary": "python:tests.tiny:other"}],
    "captioning": [JPEG, {"quality": 9}],
    "grounding": [JPEG, {"quality": 9}],
    "retrieval": [JPEG, {"quality": 9}],
}


@pytest.mark.parametrize("task", BELIEFS)
def test_what_an_attacker_believes_is_what_is_attacked_and_the_row_says_it(
    task: str, request: pytest.FixtureRequest
) -> None:
    defense, belief = BELIEFS[task]
    ((key, believed),) = belief.items()
    beliefs: list[dict[str, Any]] = [{}, {key: [believed]}]
    made = plan(
        request.getfixturevalue(task)(
            attack={}, attacks=[{"name": ATTACKS[task], "instead": beliefs}], defenses=[defense]
        )
    )
    attacked = [row for row in made.rows if row.spec]
    assert len({row.spec.id for row in attacked if row.spec}) == 2
    for row in attacked:
        assert row.spec is not None
        (victim,) = row.spec.victims
        instead = row.spec.settings.get("instead", {})
        assert instead in ({}, {key: believed})
        assert (victim is row.guarded) == (not instead)
        assert (getattr(victim.defense, key) == believed) == bool(instead)
        assert getattr(row.guarded.defense, key) != believed
        # What is scored is the defense as it is, whatever is believed.
        assert row.settings == attacked[0].settings


@pytest.mark.parametrize("task", BELIEFS)
def test_an_attacker_cannot_believe_in_what_the_defense_does_not_have(
    task: str, request: pytest.FixtureRequest
) -> None:
    study, (defense, belief) = request.getfixturevalue(task), BELIEFS[task]
    (key,) = belief

    def attacks(instead: Any) -> Any:
        table = {"name": ATTACKS[task], "instead": instead}
        return {"attack": {}, "attacks": [table], "defenses": [defense]}

    with pytest.raises(SecondlookError, match=f"'{key[:-1]}'; did you mean {key}"):
        plan(study(**attacks({key[:-1]: "x"})))
    with pytest.raises(SecondlookError, match=r"instead = 'x' is no table"):
        plan(study(**attacks("x")))


def test_attacks_stand_side_by_side_each_with_rows_of_its_own(classification: Make) -> None:
    made = plan(
        classification(
            attack={},
            defenses=[{"name": "undefended"}, SHIELD],
            attacks=[
                {"name": "pgd", "steps": [2, 3], "knowledge": ["oblivious"]},
                {"name": "apgd", "steps": 4},
                {"name": "square", "queries": 10, "knowledge": ["adaptive"]},
            ],
        )
    )
    found = {
        label: [
            (row.knowledge, row.spec.settings["name"] if row.spec else "")
            for row in made.rows
            if row.label.startswith(label)
        ]
        for label in ("undefended", "multishield")
    }
    assert found["multishield"] == [
        ("clean", ""),
        ("oblivious", "pgd"),
        ("oblivious", "pgd"),
        ("adaptive", "apgd"),
        ("adaptive", "square"),
    ]
    # What an attacker makes of a bare model is adaptive, and has its check, by any name.
    assert {known for known, name in found["undefended"] if name} == {"adaptive"}
    assert len([row for row in made.rows if row.spec and row.spec.id in made.sanity]) == 8


def test_controls_stand_behind_the_defenses_and_a_model_of_their_own_last(planned: Callable[..., Plan]) -> None:
    part = {"purifier": "python:tests.tiny:shift", "samples": 1}
    given = [part, {"name": "undefended", "model": "python:tests.tiny:third"}, {"name": "jpeg", "knowledge": ["clean"]}]
    without, made = planned(), planned(controls=given)
    assert [row.id for row in made.rows if not row.control] == [row.id for row in without.rows]
    assert not any(row.control for row in without.rows)
    assert [(row.guarded.model.name, row.label, row.knowledge) for row in made.rows[len(without.rows) :]] == [
        *(
            ("tiny:eye", "control: consensus python:tests.tiny:shift", known)
            for known in ("clean", "oblivious", "transfer", "adaptive")
        ),
        ("tiny:eye", "control: jpeg", "clean"),
        *(("tiny:third", "control: undefended", known) for known in ("clean", "adaptive", "transfer")),
    ]
    # One view is attacked as ten are, so that a part alone costs decisions and no attack.
    ids = [spec_of(made, label, "adaptive").id for label in ("control: consensus", "consensus")]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ({"name": "jpeg", "knowledge": ["adaptiv"]}, r"'adaptiv' is unknown"),
        ({"name": "undefended", "model": "scenes:klip"}, r"scenes:klip"),
        ({"name": "jpeg", "quality": []}, r"quality = \[\] sweeps over nothing"),
    ],
)
def test_a_control_that_does_not_fit_is_named(
    planned: Callable[..., Plan], control: dict[str, Any], message: str
) -> None:
    with pytest.raises(SecondlookError, match=message):
        planned(controls=[control])


def test_attacks_on_pairs_are_made_on_surrogates_that_embed(captioning: Make) -> None:
    names = ["python:tests.tiny:eye", f"{SHADES}:teller"]
    made = plan(
        captioning(
            surrogates=names,
            attack={},
            knowledge=["clean", "transfer"],
            attacks=[{"name": "darken"}, {"name": "mortal"}],
        )
    )
    specs = [row.spec for row in made.rows if row.spec]
    assert [[victim.model.name for victim in spec.victims] for spec in specs] == [["tiny:eye"], ["tiny:teller"]]
    assert [spec.options.objective for spec in specs] == ["", "untargeted"]


def test_transfer_is_made_on_surrogates(retrieval: Make) -> None:
    dial, tilted = (f"{DIALS}:{name}" for name in ("dial", "tilted"))
    made = plan(retrieval(models=[dial, tilted], surrogates=[tilted], knowledge=["clean", "transfer"]))
    assert len(made.specs) == 1
    assert [victim.model.name for victim in made.specs[0].victims] == ["tiny:tilted"]


def test_where_each_is_shown_what_is_made_on_each_a_victim_s_own_is_left_out(retrieval: Make) -> None:
    both = [f"{DIALS}:{name}" for name in ("dial", "tilted")]
    attack = {"name": "swap", "surrogates": both, "knowledge": ["transfer"]}
    made = plan(retrieval(models=both, surrogates=both, knowledge=["clean"], attack={}, attacks=[attack]))
    assert {(row.guarded.model.name, row.spec.victims[0].model.name) for row in made.rows if row.spec} == {
        ("tiny:dial", "tiny:tilted"),
        ("tiny:tilted", "tiny:dial"),
    }


def test_who_does_not_know_the_detector_attacks_the_bare_captioner(captioning: Make) -> None:
    made = plan(captioning(defenses=[{"name": "undefended"}, MIRROR], knowledge=["clean", "oblivious", "adaptive"]))
    for objective in ("untargeted", "targeted"):
        bare = spec_of(made, "undefended", "adaptive", objective)
        blind = spec_of(made, "mirrorcheck", "oblivious", objective)
        aware = spec_of(made, "mirrorcheck", "adaptive", objective)
        assert bare.id == blind.id != aware.id
        assert "weight" not in bare.settings and aware.settings["weight"] == 3.0


def test_weights_are_rows_of_their_own_and_only_where_something_rejects(captioning: Make) -> None:
    attack = {"name": "mortal", "objective": "targeted", "weight": [1.0, 10.0]}
    made = plan(captioning(attack=attack, defenses=[{"name": "undefended"}, MIRROR]))
    weights = [row.spec.settings.get("weight") for row in made.rows if row.spec]
    assert weights == [None, 1.0, 10.0]


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
        ({"adaptive": {"objective": ["cosine", "vote"]}}, r"objective = 'vote' is none .*cosine, votes"),
        ({"adaptive": {"drawz": 2}}, r"'drawz'"),
        ({"defenses": [{"name": "concensus"}]}, r"unknown defense 'concensus'; did you mean cons"),
        ({"defenses": [{"name": "noise", "samples": 0}]}, "samples=0; write 1 or more"),
        ({"defenses": [{"name": "noise", "sigma": 3}]}, r"sigma=3 is outside \(0, 1\]"),
        ({"defenses": [{"name": "noise", "samplez": 3}]}, r"'samplez'; did you mean samples"),
        ({"defenses": [{"purifier": "python:tests.tiny:eye"}]}, r"is no purifier"),
        ({"defenses": [{"purifier": "scenes:nothing"}]}, r"scenes:nothing"),
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
        ({"samples": -1}, r"samples=-1; write 0 or more"),
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


@pytest.mark.parametrize(
    ("task", "changes", "message"),
    [
        ("captioning", {"models": ["python:tests.tiny:eye"]}, "tests.tiny:eye writes no captions; try scenes:"),
        ("captioning", {"attack": {"name": "recolor"}}, "recolor changes captions alone, and captioning"),
        ("captioning", {"attack": {"name": "darken"}, "knowledge": ["clean", "transfer"]}, "'transfer' needs"),
        (
            "captioning",
            {"attack": {"name": "darken"}, "knowledge": ["clean", "transfer"], "surrogates": [f"{SHADES}:teller"]},
            "darken cannot be made on any of surrogates",
        ),
        ("captioning", {"attack": {"name": "mortal", "objective": "map"}}, "'map' is none of this task's; there"),
        (
            "captioning",
            {"attack": {"name": "mortal", "objective": "mf-it"}},
            r"'mf-it' is made on a surrogate .*\[\"transfer\"\]",
        ),
        (
            "captioning",
            {
                "surrogates": [f"{SHADES}:prism"],
                "attack": {},
                "attacks": [{"name": "mortal", "objective": "mf-tt", "knowledge": ["transfer"]}],
            },
            "mortal queries nobody; take attackvlm, rgf or square",
        ),
        ("captioning", {"prompts": ["a {}"]}, "prompts are for names of classes"),
        ("captioning", {"defenses": [SHIELD]}, "compares classes, and tiny:teller names none"),
        ("captioning", {"defenses": [{**MIRROR, "calibrate_on": "shades:60"}]}, "also calibrated on, shade-0 is one"),
        ("captioning", {"task": {"name": "captioning", "data": "scenes:test", "samples": -1}}, "samples=-1"),
        ("captioning", {"attack": {"name": "mortal", "step_s": 3}}, "'step_s'; did you mean steps"),
        (
            "classification",
            {"defenses": [{**SHIELD, "false_rejection": 0.1, "calibrate_on": "folder:{pictures}"}]},
            "are also calibrated on",
        ),
        ("grounding", {"models": ["python:tests.tiny:eye"]}, "tiny:eye has no spatial features"),
        ("grounding", {"models": [f"{SHADES}:teller"]}, "embeds no images and texts"),
        ("grounding", {"attacks": [{"name": "recolor", "objective": "map"}]}, "says nothing to an attack on"),
        ("grounding", {"task": {"name": "grounding", "data": "shades:9"}}, "knows no boxes"),
        ("grounding", {"task": {"name": "grounding", "side": -1}}, "side=-1"),
        (
            "grounding",
            {"adaptive": {"draws": 0}, "attack": {"name": "mortal"}, "defenses": [{"name": "noise"}]},
            "draws = 0",
        ),
        ("grounding", {"defenses": [MIRROR]}, "MirrorCheck paints what a model says"),
        ("retrieval", {"models": ["scenes:classifier"]}, "scenes:classifier embeds no texts"),
        ("retrieval", {"knowledge": ["transfer"]}, "'transfer' needs surrogates"),
        (
            "retrieval",
            {"defenses": [{"name": "always-reject"}]},
            "always-reject detects, and retrieval dials:10 has no answers to hold back",
        ),
        ("retrieval", {"task": {"name": "retrieval", "data": "dials:10", "rerank": 4}}, "matches no pairs"),
        ("retrieval", {"task": {"name": "retrieval", "data": "dials:10", "attacked": ["all"]}}, "attacked"),
        ("retrieval", {"prompts": ["a {}"]}, "prompts are for names of classes"),
        ("retrieval", {"attack": {"name": "swap", "objective": "votes"}}, "says nothing to an attack on pairs"),
        ("retrieval", {"attack": {"name": "pgd"}}, "pgd attacks images alone, and retrieval"),
        ("retrieval", {"task": {"name": "retrieve"}}, "unknown task 'retrieve'; did you mean ret"),
    ],
)
def test_what_does_not_fit_a_task_is_named(
    task: str, changes: dict[str, Any], message: str, pictures: Path, request: pytest.FixtureRequest
) -> None:
    given = {**changes}
    if "{pictures}" in str(given):
        (defense,) = given["defenses"]
        given["defenses"] = [{**defense, "calibrate_on": f"folder:{pictures}"}]
    with pytest.raises(SecondlookError, match=message):
        plan(request.getfixturevalue(task)(**given))


def test_a_source_without_captions_is_named(captioning: Make, pictures: Path) -> None:
    with pytest.raises(InvalidInput, match="caption"):
        plan(captioning(task={"name": "captioning", "data": f"folder:{pictures}"}))


def test_an_attack_on_pairs_cannot_be_made_on_a_captioner(captioning: Make) -> None:
    (spec,) = plan(captioning(attack={"name": "darken"})).specs
    with pytest.raises(InvalidInput, match=r"surrogates = \[\"scenes:clip\"\]"):
        spec.victims[0].embedder()


@pytest.mark.parametrize(
    ("surrogates", "message"),
    [
        ([f"{SHADES}:prism", "python:tests.tiny:eye"], "starts from one surrogate"),
        ([f"{SHADES}:teller"], "cannot be made on any of surrogates"),
    ],
)
def test_queries_start_from_one_embedder(captioning: Make, surrogates: list[str], message: str) -> None:
    table = {"name": "attackvlm", "objective": "mf-tt", "knowledge": ["transfer", "adaptive"]}
    with pytest.raises(InvalidInput, match=message):
        plan(captioning(surrogates=surrogates, attack={}, attacks=[table]))


EYE, OTHER, THIRD = (f"python:tests.tiny:{name}" for name in ("eye", "other", "third"))


def test_a_hybrid_is_made_on_surrogates_and_asks_the_victim(classification: Make) -> None:
    defenses = [{"name": "undefended"}, JPEG]
    table = {"name": "hybrid", "knowledge": ["transfer", "adaptive"]}
    made = plan(classification(surrogates=[OTHER, THIRD], attack={}, attacks=[table], defenses=defenses))
    for row in made.rows:
        if row.spec is None:
            continue
        assert [victim.model.name for victim in row.spec.victims] == ["tiny:other", "tiny:third"]
        assert row.spec.queried is not None
        assert row.spec.queried.bare == (row.knowledge == "transfer" or row.guarded.bare)
    assert len(made.specs) == 2 and not made.sanity
    with pytest.raises(InvalidInput, match="hybrid starts from one surrogate and queries the victim"):
        plan(classification(surrogates=[OTHER], attack={"name": "hybrid"}, knowledge=["oblivious"]))
    with pytest.raises(InvalidInput, match="cannot be made on any of surrogates"):
        plan(classification(attack={"name": "hybrid"}, knowledge=["adaptive"]))


def test_an_attack_is_made_on_the_surrogates_that_it_names(classification: Make) -> None:
    table = {"name": "mortal", "surrogates": [OTHER, f"{THIRD}, {OTHER}"]}
    made = plan(classification(surrogates=[OTHER, THIRD], attack=table, knowledge=["transfer"]))
    names = [[victim.model.name for victim in spec.victims] for spec in made.specs]
    assert names == [["tiny:other"], ["tiny:third", "tiny:other"]]
    with pytest.raises(InvalidInput, match="'python:tests.tiny:eye', which is none of the study's: .*other"):
        plan(classification(surrogates=[OTHER], attack={**table, "surrogates": EYE}, knowledge=["transfer"]))


def test_a_victim_is_no_surrogate_of_itself_where_there_is_another(classification: Make) -> None:
    both = [EYE, OTHER]
    made = plan(classification(models=both, surrogates=both, knowledge=["transfer"]))
    attacked = {row.guarded.model.name: row.spec.victims for row in made.rows if row.spec}
    assert {name: [each.model.name for each in victims] for name, victims in attacked.items()} == {
        "tiny:eye": ["tiny:other"],
        "tiny:other": ["tiny:eye"],
    }
    alone = plan(classification(surrogates=[EYE], knowledge=["transfer"]))
    assert [victim.model.name for victim in alone.specs[0].victims] == ["tiny:eye"]


def test_the_seed_of_the_study_is_the_seed_of_its_task(planned: Callable[..., Plan]) -> None:
    assert planned(seed=5).task.settings.seed == 5


def test_each_prompt_is_a_model_of_its_own(planned: Callable[..., Plan]) -> None:
    made = planned(prompts=["{}", "some {}"], knowledge=["oblivious"])
    names = ["tiny:eye “{}”", "tiny:eye “some {}”"]
    assert list(dict.fromkeys(row.guarded.model.name for row in made.rows)) == names
    assert len({row.id for row in made.rows}) == len(made.rows) == 8
    assert made.hashes[names[0]] == made.hashes[names[1]] == made.hashes["tiny:eye"]


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_shards_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="shard"):
        Shard.parse(text)


def test_every_sample_is_in_one_shard_and_every_shard_has_some() -> None:
    assert Shard.parse("2/4") == Shard(2, 4) and str(Shard(2, 4)) == "2/4"
    assert [chunk.at for chunk in chunks(5, 2, Shard())] == [(0, 1), (2, 3), (4,)]
    for samples, size, count in ((38, 2, 4), (100, 50, 8), (7, 3, 7), (10, 100, 3)):
        shards = [chunks(samples, size, Shard(index, count)) for index in range(1, count + 1)]
        every = [chunk for shard in shards for chunk in shard]
        assert every == partition(samples, size, count)
        assert [chunk.number for chunk in every] == list(range(len(every)))
        assert [at for chunk in every for at in chunk.at] == list(range(samples))
        assert max(len(chunk.at) for chunk in every) <= size
        sizes = [sum(len(chunk.at) for chunk in shard) for shard in shards]
        assert max(sizes) - min(sizes) <= 1 and min(sizes) >= 1


def test_more_shards_than_samples_are_refused() -> None:
    with pytest.raises(InvalidInput, match=r"9 shards of 8 sample\(s\) leave some without any; write i/8 at most"):
        chunks(8, 50, Shard(1, 9))


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_shipped_study_can_be_planned_where_the_weights_are(name: str) -> None:
    study = read(name)
    there = {f"scenes:{each}" for each in (*listed("scenes"), *data.listed("scenes"))}
    if lost := sorted(_asked_for(study.model_dump()) - there):
        pytest.skip(f"the embedded world has no weights of {', '.join(lost)}")
    made = plan(study)
    assert len({row.id for row in made.rows}) == len(made.rows) >= len(study.defenses)


def _asked_for(value: Any) -> set[str]:
    """What a study names of the embedded world, models and data."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return set().union(*map(_asked_for, value))
    names = value.split(",") if isinstance(value, str) else []
    return {name for name in names if re.fullmatch(r"scenes:[\w-]+", name)}


@pytest.mark.parametrize("label", [5, True, {"a": 1}])
def test_a_label_that_is_no_text_is_refused_before_anything_is_attacked(
    planned: Callable[..., Plan], label: object
) -> None:
    for kind in ("defenses", "controls"):
        with pytest.raises(InvalidInput, match=r"label = .* is no name; write a text"):
            planned(**{kind: [{"name": "undefended", "label": label}]})


def test_texts_that_no_result_could_hold_are_refused_before_anything_is_attacked(
    captioning: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = captioning()
    plan(study)
    monkeypatch.setattr(shades, "NAMES", ("red", "gr\ud800en", "blue"))
    with pytest.raises(InvalidInput, match=r"caption 'gr\\ud800en again' is no Unicode text"):
        plan(study)


def test_a_file_name_that_is_no_utf_8_is_refused_before_anything_is_attacked(tmp_path: Path) -> None:
    tiny.write_folder(tmp_path / "pictures", 12)
    path = sorted((tmp_path / "pictures").rglob("*.png"))[0]
    try:
        os.rename(os.fsencode(path), os.fsencode(path.parent) + b"/caf\xe9.png")
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(InvalidInput, match=r"caf\\udce9\.png' is no Unicode text.*or its file.s name, in UTF-8"):
        plan(tiny.study(tmp_path / "pictures"))
