"""Each health check on a case made by hand: it passes the sound and sees the sick."""

from collections.abc import Callable
from typing import Any

import pytest

from secondlook.audit.checks import Evidence, check_cell, check_group, cross_row, optimization, sanity
from secondlook.audit.checks.base import Row
from secondlook.schema import Audit, Cell, Check, Cost
from secondlook.statistics import wilson
from tests.audit.rows import cell, records

NAN = None
"""What a NaN is in a record."""


def row_of(cell: Cell, rows: Any = (), **evidence: Any) -> Row:
    return Row(cell, rows, Evidence(**evidence))


def searched(cell: Cell, rows: Any) -> list[Check]:
    return list(optimization.searched(row_of(cell, rows)))


def named(checks: list[Check], name: str) -> Check:
    (found,) = [check for check in checks if check.check == name]
    return found


@pytest.mark.parametrize(("n", "status"), [(1, "fail"), (29, "fail"), (30, "warn"), (99, "warn"), (100, "pass")])
def test_a_handful_of_samples_is_no_figure(n: int, status: str) -> None:
    found = next(sanity.enough_samples(row_of(cell(n=n))))
    assert found.status == status and f"n = {n};" in found.detail
    assert ("take n = 100" in found.detail, "30 at the least" in found.detail) == (n < 100, n < 30)


@pytest.mark.parametrize(("sick", "status"), [(0, "pass"), (2, "pass"), (4, "warn"), (20, "warn"), (24, "fail")])
@pytest.mark.parametrize("name", ["zero_gradient", "bad_gradient"])
def test_dead_gradients_are_seen(name: str, sick: int, status: str) -> None:
    rows = records(200 - sick) + records(sick, **{name: 1.0})
    assert optimization.gradients(rows).status == status


def test_an_attack_that_does_not_tell_of_its_gradients_is_not_believed() -> None:
    assert optimization.gradients(records(zero_gradient=NAN)).status == "fail"


@pytest.mark.parametrize(("sick", "status"), [(0, "pass"), (10, "pass"), (12, "warn"), (60, "fail")])
@pytest.mark.parametrize("losses", [(0.5, 0.5), (0.5, 0.4), (NAN, 0.5), (-0.5, NAN), (0.5, NAN), (NAN, NAN)])
def test_a_loss_that_does_not_rise_is_seen(losses: Any, sick: int, status: str) -> None:
    rows = records(200 - sick) + records(sick, first_loss=losses[0], last_loss=losses[1])
    assert optimization.rising(rows).status == status


def test_a_single_step_has_nothing_to_compare() -> None:
    once = records(first_loss=0.5, middle_loss=0.5, last_loss=0.5, steps=1)
    several = searched(cell(), once)
    assert named(several, "loss rises").status == "fail"
    alone = searched(cell(settings={"attack": {"name": "fgsm", "steps": 1}}), once)
    assert [check.check for check in alone] == ["gradients alive"]


@pytest.mark.parametrize(
    ("middle", "status", "share"),
    [(0.8, "pass", 0), (0.6, "pass", 20), (0.5, "warn", 30), (-0.2, "warn", 100), (-0.4, "fail", 120)],
)
def test_a_rise_that_comes_late_is_seen(middle: float, status: str, share: int) -> None:
    found = optimization.converged(records(middle_loss=middle))
    assert found.status == status and found.detail.startswith(f"{share}%")


def test_convergence_of_what_never_rose_is_still_a_sentence() -> None:
    for first, middle, last in ((0.5, 0.5, 0.5), (0.5, 0.1, 0.4), (NAN, NAN, NAN)):
        rows = records(first_loss=first, middle_loss=middle, last_loss=last)
        assert len(optimization.converged(rows).detail) < 80


def test_a_surrogate_that_is_the_victim_is_seen() -> None:
    row = cell("transfer", surrogates=["a", "b"])
    apart = {"m": "1", "a": "2", "b": "3"}
    (sound,) = sanity.other_surrogate(row_of(row, hashes=apart))
    assert sound.status == "pass"
    (found,) = sanity.other_surrogate(row_of(row, hashes=apart | {"b": "1"}))
    assert found.status == "fail" and found.detail == "b is the victim itself"
    assert "surrogate is another model" in {check.check for check in check_cell(row, records(), Evidence(hashes=apart))}


@pytest.mark.parametrize(("success", "status"), [(1.0, "pass"), (0.875, "pass"), (0.75, "warn"), (0.25, "fail")])
def test_an_attack_that_fails_without_a_bound_is_seen(success: float, status: str) -> None:
    probe = {"samples": {f"other{i}": i < 8 * success for i in range(8)}}
    checks = check_cell(cell(), records(), Evidence(probe=probe))
    found = named(checks, "succeeds without a bound")
    assert found.status == status and f"{success:.0%}" in found.detail


def test_what_is_reached_within_the_bound_is_reached_without_it() -> None:
    rows = [{"sample": f"s{i}", "success": float(i < 6)} for i in range(8)]
    probe = {"samples": {f"s{i}": i == 7 for i in range(8)}}
    (found,) = sanity.unbounded(row_of(cell(), rows, probe=probe))
    assert "on 88%" in found.detail
    (told,) = sanity.unbounded(row_of(cell(), rows, probe=probe, reached=frozenset({"s0"})))
    assert "on 25%" in told.detail


def test_a_clean_row_is_asked_for_its_number_alone() -> None:
    checks = check_cell(cell("clean"), [{}] * 200, Evidence())
    assert [check.check for check in checks] == ["enough samples"]


@pytest.mark.parametrize(
    ("theirs", "ours", "status"),
    [
        (range(50), range(50), "pass"),
        (range(50), range(90), "pass"),
        (range(90), range(50), "fail"),
        (range(51), range(50), "warn"),
    ],
)
@pytest.mark.parametrize("rival", ["oblivious", "transfer"])
def test_whoever_knows_less_must_not_do_better(rival: str, theirs: range, ours: range, status: str) -> None:
    weak, knowing = cell(rival, id="weak"), cell("adaptive", id="knowing")
    rows = {"weak": records(hits=theirs), "knowing": records(hits=ours)}
    found = check_group([weak, knowing], rows)
    assert found[0].health == []
    assert named(list(found[1].health), f"stronger than {rival}").status == status


@pytest.mark.parametrize(
    "apart",
    [
        {"model": "other"},
        {"task": "other"},
        {"eps": 4 / 255},
        {"settings": {"defense": {"name": "other"}, "attack": {}}},
    ],
)
def test_only_rows_of_one_defense_and_threat_are_rivals(apart: dict[str, Any]) -> None:
    weak, knowing = cell("oblivious", id="weak", **apart), cell("adaptive", id="knowing")
    rows = {"weak": records(hits=range(200)), "knowing": records()}
    found = check_group([weak, knowing], rows)[1]
    assert not [check for check in found.health if check.check.startswith("stronger")]


@pytest.mark.parametrize(
    ("hits", "status"), [((0.5, 0.5), "pass"), ((0.3, 0.9), "pass"), ((0.5, 0.47), "warn"), ((0.9, 0.3), "fail")]
)
@pytest.mark.parametrize("parameter", ["eps", "steps"])
def test_a_larger_budget_must_not_help_the_defender(parameter: str, hits: tuple[float, float], status: str) -> None:
    budgets = {"eps": (4 / 255, 8 / 255), "steps": (10, 100)}[parameter]
    # In whichever order the rows come.
    cells = [cell(hit=h, **{parameter: b}) for h, b in zip(hits, budgets, strict=True)][::-1]
    more, less = check_group(cells, {c.id: records() for c in cells})
    name = f"more {parameter} does not help the defender"
    assert named(list(more.health), name).status == status
    assert name not in {check.check for check in less.health}


def test_steps_are_compared_at_one_eps() -> None:
    cells = [cell(hit=0.9, eps=8 / 255, steps=10), cell(hit=0.1, eps=4 / 255, steps=100)]
    assert cross_row.monotone(cells, "steps") == [] and cross_row.monotone(cells, "eps") == []


def test_a_loss_may_be_flat_where_its_goal_is_reached() -> None:
    there = records(200, hits=range(200), zero_gradient=1.0, last_loss=-0.5)
    assert optimization.gradients(there).status == "pass" and optimization.rising(there).status == "pass"
    short = records(200, hits=range(150), zero_gradient=1.0)
    assert optimization.gradients(short).status == "fail"
    # What is not finite is never sound.
    assert optimization.gradients(records(hits=range(200), bad_gradient=1.0)).status == "fail"


def tried(steps: int, count: int, hits: range, **changes: Any) -> list[dict[str, Any]]:
    sick = {"zero_gradient": 0.0, "first_loss": 0.5, "last_loss": 0.5, "middle_loss": 0.5}
    return records(count, hits, steps=steps, **(sick | changes))


def test_whom_the_first_look_fools_is_not_searched() -> None:
    found = searched(cell(), tried(0, 60, range(60)) + records(140, steps=10))
    assert [check.check for check in found] == ["something to attack", "gradients alive", "loss rises", "converged"]
    assert {check.status for check in found} == {"pass"} and "60 of 200" in found[0].detail
    (alone,) = searched(cell(), tried(1, 50, range(50)))
    assert (alone.check, alone.status) == ("something to attack", "warn")


def test_an_attack_that_did_nothing_is_not_taken_for_one_that_had_nothing_to_do() -> None:
    found = searched(cell(), tried(0, 50, range(0)))
    assert named(found, "loss rises").status == "fail"
    # Who takes a single step by choice is judged by it.
    single = cell(steps=1)
    assert "something to attack" not in {c.check for c in searched(single, tried(1, 50, range(50)))}


def test_who_only_asks_has_no_gradients_to_be_alive() -> None:
    asking = cell(ledger=Cost(forwards=1, backwards=0, seconds=1, overhead=1, attack_forwards=9))
    found = searched(asking, records(zero_gradient=1.0, steps=9))
    assert [check.check for check in found] == ["loss rises", "converged"]


def test_who_asks_after_a_transfer_is_weak_where_nothing_answers_and_not_blinded() -> None:
    asking = cell(settings={"defense": {}, "attack": {"name": "attackvlm", "transfer_steps": 9}})
    for losses, status in (({}, "pass"), ({"last_loss": -0.2}, "warn")):
        (found,) = searched(asking, records(zero_gradient=1.0, steps=8, **losses))
        assert (found.check, found.status) == ("questions help", status)
    assert "what the victim answers did not rise on 100%" in found.detail


@pytest.mark.parametrize(
    ("unsteady", "stochastic", "status"),
    [(False, False, "pass"), (True, True, "pass"), (False, True, "pass"), (True, False, "fail")],
)
def test_randomness_has_to_be_declared(unsteady: bool, stochastic: bool, status: str) -> None:
    look = {"unsteady": unsteady, "softmax": False, "n": 8}
    row = row_of(cell(), inspection=look, stochastic=stochastic)
    found = [*sanity.declared_randomness(row), *sanity.logits(row)]
    assert [(c.check, c.status) for c in found] == [("deterministic as it says", status)]


def test_probabilities_are_told() -> None:
    look = {"unsteady": False, "softmax": True, "n": 8}
    (found,) = sanity.logits(row_of(cell(), inspection=look))
    assert found.status == "warn" and "return its logits" in found.detail
    assert list(sanity.logits(row_of(cell()))) == []


@pytest.mark.parametrize(
    ("settings", "status"), [({"draws": 1}, "warn"), ({"draws": 8}, "pass"), ({"draws": 1, "version": "rand"}, "pass")]
)
def test_one_look_at_a_randomized_victim_is_few(settings: dict[str, Any], status: str) -> None:
    row = cell(settings={"defense": {"name": "d"}, "attack": {"name": "a", **settings}})
    checks = check_cell(row, records(), Evidence(stochastic=True))
    assert named(checks, "draws of a randomized victim").status == status
    checks = check_cell(row, records(), Evidence())
    assert "draws of a randomized victim" not in {check.check for check in checks}


def test_a_defense_that_optimizes_is_told() -> None:
    spent = Cost(forwards=1, backwards=1200, seconds=1, overhead=1)
    for knowledge in ("clean", "adaptive"):
        checks = check_cell(cell(knowledge, ledger=spent), records(), Evidence())
        found = named(checks, "decides without optimizing")
        assert found.status == "warn" and "1,200 backward passes" in found.detail


def checks_of(audit: Audit, knowledge: str) -> dict[str, str]:
    (row,) = [c for c in audit.cells if c.knowledge == knowledge]
    return {check.check: check.status for check in row.health}


def test_a_purifier_without_a_gradient_is_seen_in_a_whole_run(audited: Callable[..., Audit]) -> None:
    audit = audited(
        defenses=[{"name": "consensus", "purifier": "python:tests.tiny:blind"}], knowledge=["clean", "adaptive"]
    )
    found = checks_of(audit, "adaptive")
    assert found["gradients alive"] == "fail" and found["loss rises"] == "fail"
    assert found["succeeds without a bound"] == "fail"
    (headline,) = audit.headline
    assert headline.status == "withheld" and any("gradients" in r for r in headline.reasons)


def test_a_surrogate_that_is_the_victim_is_seen_in_a_whole_run(audited: Callable[..., Audit]) -> None:
    audit = audited(
        surrogates=["python:tests.tiny:eye"], knowledge=["transfer", "adaptive"], defenses=[{"name": "undefended"}]
    )
    assert checks_of(audit, "transfer")["surrogate is another model"] == "fail"
    assert audit.headline[0].status == "withheld"


def test_a_sound_run_fails_no_check(whole: Any) -> None:
    cells: list[Cell] = whole.audit.cells
    assert not [(c.id, h) for c in cells for h in c.health if h.status == "fail"]
    seen = {h.check for c in cells for h in c.health}
    assert seen == {
        "enough samples",
        "better than chance",
        "gradients alive",
        "loss rises",
        "converged",
        "succeeds without a bound",
        "surrogate is another model",
        "stronger than oblivious",
        "gradient is not masked",
        "gradient through the defense",
        "answers alone as among others",
        "stronger than transfer",
        "deterministic as it says",
        "draws of a randomized victim",
        "spends what the oblivious attack spends",
        "another aim does no better: margin",
        "no better under attack than clean",
    }


@pytest.mark.parametrize(("theirs", "status"), [(8, "fail"), (6, "fail"), (3, "warn"), (2, "pass"), (0, "pass")])
def test_an_easier_aim_that_does_better_is_seen(theirs: int, status: str) -> None:
    """None of the row's own samples is reached."""
    rows = records(8)
    probe = {"samples": {row["sample"]: at < theirs for at, row in enumerate(rows)}}
    (found,) = sanity.other_aims(row_of(cell(), rows, aims={"near-miss": probe}))
    assert (found.check, found.status) == ("another aim does no better: near-miss", status)
    (equal,) = sanity.other_aims(row_of(cell(), records(8, hits=range(theirs)), aims={"near-miss": probe}))
    assert equal.status == "pass"


@pytest.mark.parametrize(("right", "status"), [(10, "fail"), (34, "fail"), (41, "fail"), (45, "pass"), (90, "pass")])
def test_a_model_that_guesses_is_told_at_each_of_its_rows(right: int, status: str) -> None:
    """Of 100 images in three classes; 41 % has an interval that still holds a third."""
    evidence = {"chance": 1 / 3, "bare": wilson(right, 100)}
    undefended = {"defense": {"name": "undefended"}, "attack": {}}
    clean = list(sanity.above_chance(row_of(cell("clean", settings=undefended), **evidence)))
    attacked = list(sanity.above_chance(row_of(cell("adaptive"), **evidence)))
    assert [check.status for check in clean] == [status]
    assert [check.status for check in attacked] == (["fail"] if status == "fail" else [])
    assert f"{right}% right" in clean[0].detail and "33%" in clean[0].detail
    assert not list(sanity.above_chance(row_of(cell("clean"), chance=None, bare=None)))
