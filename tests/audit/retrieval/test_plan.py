"""From a study of retrieval to its rows: what is crafted once, and what is refused."""

from typing import Any

import pytest

from secondlook.audit.api import run_study
from secondlook.audit.retrieval.plan import plan
from secondlook.errors import InvalidInput, UnknownName
from tests.audit.retrieval.conftest import Make

DIAL, TILTED = (f"python:tests.audit.retrieval.dials:{name}" for name in ("dial", "tilted"))
JPEG = {"name": "jpeg"}


def test_three_sides_of_one_attack_are_crafted_once(study: Make) -> None:
    made = plan(study(threat={"eps": ["8/255", "40/255"]}))
    told = [(cell.knowledge, cell.setting) for cell in made.cells]
    assert told == [("clean", "both")] + 2 * [
        ("adaptive", side) for side in ("query", "gallery", "both")
    ]
    assert len({cell.id for cell in made.cells}) == 7
    assert len(made.forges) == 2


def test_captions_alone_are_the_same_at_every_eps(study: Make) -> None:
    made = plan(study(threat={"eps": ["8/255", "40/255"]}, attack={"name": "turn"}))
    assert len(made.forges) == 1 and len(made.cells) == 7
    assert not made.probes


def test_whoever_has_a_bare_model_knows_all_of_it(study: Make) -> None:
    known = ["clean", "oblivious", "adaptive"]
    made = plan(study(knowledge=known, defences=[{"name": "undefended"}, JPEG]))
    bare = {cell.knowledge for cell in made.cells if cell.label == "undefended"}
    behind = {cell.knowledge for cell in made.cells if cell.label == "jpeg"}
    assert (bare, behind) == ({"clean", "adaptive"}, set(known))
    assert len(made.forges) == 2
    alone = plan(study(knowledge=["clean", "oblivious"]))
    assert {cell.knowledge for cell in alone.cells} == {"clean", "oblivious"}


def test_transfer_is_crafted_on_surrogates(study: Make) -> None:
    made = plan(study(models=[DIAL, TILTED], surrogates=[TILTED], knowledge=["clean", "transfer"]))
    assert len(made.forges) == 1
    assert [victim.name for victim in made.forges[0].victims] == ["tiny:tilted"]


def test_the_seed_and_the_captions_tell_forges_apart(study: Make) -> None:
    def forge(**changes: Any) -> str:
        return plan(study(**changes)).forges[0].id

    task = {"name": "retrieval", "data": "dials:10", "samples": 0}
    others = [{"seed": 1}, {"task": {**task, "captions": 1}}, {"models": [TILTED]}]
    assert len({forge(), *(forge(**change) for change in others)}) == 4
    assert forge() == forge(task={**task, "attacked": ["query"]})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": ["scenes:classifier"]}, "scenes:classifier embeds no texts"),
        ({"knowledge": ["transfer"]}, "'transfer' needs surrogates"),
        ({"defences": [{"name": "always-reject"}]}, "a search has none; retrieval is defended by"),
        ({"task": {"name": "retrieval", "data": "dials:10", "rerank": 4}}, "matches no pairs"),
        ({"task": {"name": "retrieval", "data": "dials:10", "attacked": ["all"]}}, "attacked"),
        ({"prompts": ["a {}"]}, "prompts are for names of classes"),
        ({"attack": {"name": "swap", "objective": "votes"}}, "objective says nothing to an attack"),
        ({"defences": [JPEG], "adaptive": {"instead": {"quality": 9}}}, "instead says nothing"),
        ({"attack": {"name": "pgd"}}, "unknown pair attack 'pgd'"),
        ({"task": {"name": "retrieve"}}, "unknown task 'retrieve'; did you mean retrieval"),
    ],
)
def test_studies_that_do_not_fit(
    study: Make, changes: dict[str, Any], said: str, tmp_path: Any
) -> None:
    with pytest.raises((InvalidInput, UnknownName), match=said):
        run_study(study(**changes), tmp_path / "run")
