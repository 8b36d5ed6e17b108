"""What was measured becomes a verdict, with its reasons."""

from __future__ import annotations

import json
from typing import Any

import pytest

from secondlook.audit.diagnosis import better, measured, read
from secondlook.audit.plan import Plan, plan
from secondlook.audit.study import Study
from secondlook.schema import Diagnosis

N = 8


def line(**changes: Any) -> dict[str, Any]:
    """A defense that nothing is wrong with."""
    manner = {"success": [True] * 4 + [False] * 4, "rise": [0.5] * N, "size": [1.0] * N}
    slope = {"measured": [2.0] * N, "by_gradient": [2.0] * N, "bare": [2.0] * N}
    found = {
        "diagnosed": "d",
        "n": N,
        "forwards": 100,
        "backwards": 50,
        "samples": [f"s{at}" for at in range(N)],
        "manners": dict.fromkeys(("bare", "as-is", "straight-through"), manner),
        "refused": {},
        "bare_success": [True] * 4 + [False] * 4,
        "cosines": [{"between": ["bare", "as-is"], "start": [1.0] * N, "end": [0.5] * N}],
        "differences": {"as-is": slope, "bare": slope},
        "coupling": [0.0, 1e-6],
    }
    return found | changes


def with_manner(name: str, hits: int, **changes: Any) -> dict[str, Any]:
    found = line(**changes)
    found["manners"] = {**found["manners"], name: {"success": [at < hits for at in range(N)], "rise": [0.1] * N}}
    return found


def verdict(found: dict[str, Any], gates: bool = False, survivors: float | None = None) -> Diagnosis:
    made = read(found, gates, [], [], survivors)
    assert made is not None
    assert bool(made.reasons) == (made.verdict != "no masking found")
    return made


def test_nothing_is_found_where_nothing_is() -> None:
    made = verdict(line(), gates=True, survivors=0.1)
    assert made.verdict == "no masking found"
    assert made.manners["bare"].robust is not None
    assert made.manners["bare"].robust.value == 0.5
    assert made.cosines[0].end == 0.5


@pytest.mark.parametrize(
    ("hits", "expected"), [(4, "no masking found"), (8, "no masking found"), (0, "no masking found")]
)
def test_as_many_samples_as_chance_would_give_are_no_masking(hits: int, expected: str) -> None:
    """Four more of eight are no proof: p = 1/16."""
    assert verdict(with_manner("bare", hits)).verdict == expected


@pytest.mark.parametrize("name", ["bare", "queries"])
def test_whoever_does_better_than_the_gradient_unmasks_it(name: str) -> None:
    found = with_manner("as-is", 2)
    found = {**found, "manners": {**found["manners"], name: {"success": [True] * N, "rise": [0.1] * N}}}
    assert verdict(found).verdict == "masked"
    assert "8 of 8 samples; the gradient as it is: 2" in verdict(found).reasons[0]


def test_a_gradient_that_cannot_be_had_counts_as_one_that_takes_nothing() -> None:
    found = with_manner("bare", 6, refused={"as-is": "the loss has no gradient to the pixels"})
    del found["manners"]["as-is"]
    made = verdict(found)
    assert made.verdict == "masked"
    assert made.manners["as-is"].note.startswith("the loss has no gradient")


@pytest.mark.parametrize(
    ("measured_slope", "said", "masked"), [(2.0, 1e-9, True), (2.0, 0.5, False), (1e-4, 0.0, False), (0.0, 0.0, False)]
)
def test_a_slope_that_the_gradient_hides_is_masking_and_a_flat_loss_is_none(
    measured_slope: float, said: float, masked: bool
) -> None:
    slope = {"measured": [measured_slope] * N, "by_gradient": [said] * N, "bare": [2.0] * N}
    made = verdict(line(differences={"bare": slope}))
    assert (made.verdict == "masked") == masked


def test_survivors_without_a_bound_are_masking() -> None:
    assert verdict(line(), survivors=0.6).verdict == "masked"


def test_answers_that_move_with_their_neighbors_are_coupled() -> None:
    made = verdict(line(coupling=[0.0, 0.2, None]))
    assert made.verdict == "batch-coupled"
    assert made.coupling == 0.2


def test_a_gate_alone_is_one_that_the_hinge_opens_and_the_replay_does_not() -> None:
    found = {**with_manner("as-is", 7, bare_success=[True] * N)}
    found["manners"]["bare"] = {"success": [False] * N, "rise": [0.0] * N}
    assert verdict(found, gates=True).verdict == "gate-only"
    assert verdict(found, gates=False).verdict == "no masking found"
    assert verdict({**found, "bare_success": [True] * 2 + [False] * 6}, gates=True).verdict == "no masking found"


def test_the_first_to_fool_are_counted_among_all() -> None:
    rows: list[Any] = [{"by": 0}, {"by": 0}, {"by": 1}, {"by": -1}]
    made = read(line(), False, rows, ["bare", "as-is, targeted margin"], None)
    assert made is not None
    assert made.manners["bare"].first is not None and made.manners["bare"].first.value == 0.5
    only = made.manners["as-is, targeted margin"]
    assert only.robust is None and only.first is not None and only.first.value == 0.25


def test_nothing_is_read_of_nothing() -> None:
    assert read({"diagnosed": "d", "n": 0, "forwards": 0, "backwards": 0}, False, [], [], None) is None


def test_the_exact_test_of_pairs() -> None:
    assert better([True] * 3, [True] * 3) == 1.0
    assert better([True] * 6 + [False], [False] * 6 + [True]) == pytest.approx(8 / 128)


def of(*defenses: dict[str, Any], **changes: Any) -> Plan:
    task = {"name": "zeroshot", "data": "scenes:test", "samples": 8, "goal": "untargeted"}
    adaptive = {"name": "synthesis", "steps": 10}
    given = {"name": "x", "task": task, "adaptive": adaptive, "threat": {"eps": ["4/255"]}, "diagnosed": 6, **changes}
    return plan(Study(**given, defenses=list(defenses), knowledge=["clean", "adaptive"]))


def diagnosis_of(made: Plan) -> Diagnosis:
    (what,) = made.diagnoses.values()
    found = json.loads(json.dumps({"diagnosed": what.id, **measured(made, what)}))
    return verdict(found)


def test_the_published_clipure_is_masked_and_the_bare_replay_says_so() -> None:
    legacy = {"legacy_detached": True, "legacy_half": True, "legacy_batch_norm": True}
    made = diagnosis_of(of({"name": "clipure-cos", **legacy}))
    own, bare = made.manners["as-is"], made.manners["bare"]
    assert made.verdict == "masked"
    assert own.tiny == 1.0 and own.size <= 1e-6
    assert own.robust is not None and bare.robust is not None
    assert own.robust.value >= bare.robust.value + 0.8
    assert made.coupling > 1e-3 and any("neighbors" in why for why in made.reasons)


def test_ours_is_not() -> None:
    made = diagnosis_of(of({"name": "clipure-cos"}))
    assert made.verdict == "no masking found"
    assert made.manners["as-is"].size == pytest.approx(1, abs=0.01)


def test_attacks_that_differ_in_their_optimizer_share_a_diagnosis_and_a_bare_model_has_none() -> None:
    both = [{"name": "apgd", "steps": 20}, {"name": "pgd", "steps": 20}]
    made = of({"name": "undefended"}, {"name": "jpeg"}, attacks=both, adaptive={})
    assert len(made.diagnoses) == 2
    assert len({what.id for what in made.diagnoses.values()}) == 1
    assert of({"name": "jpeg"}, diagnosed=0).diagnoses == {}
