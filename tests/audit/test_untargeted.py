"""Untargeted audits from end to end: victims that reject, several at once, members, beliefs."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from secondlook.attacks.base import Attacked, Objective
from secondlook.attacks.contest import Contest, contest
from secondlook.attacks.pgd import PGD
from secondlook.audit.api import run_study
from secondlook.audit.craft import objective
from secondlook.audit.plan import plan
from secondlook.audit.probes import PROBED
from secondlook.audit.schema import Audit, Cell
from secondlook.audit.store import Log
from secondlook.goals.melee import Melee
from secondlook.goals.mislead import Bout
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat
from tests import tiny

SHIELD = {"name": "multishield", "opinions": "python:tests.tiny:third"}


def table(pictures: Path, **changes: Any) -> dict[str, Any]:
    plain = {
        "task": {"name": "classification", "data": f"folder:{pictures}", "samples": 0},
        "attack": {"name": "pgd", "steps": 8}, "adaptive": {"steps": 20},
        "defences": [{"name": "undefended"}, SHIELD], "exhibits": 2,
    }  # fmt: skip
    return plain | changes


@pytest.fixture(scope="module")
def audit(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Audit, Path]:
    out = tmp_path_factory.mktemp("untargeted") / "run"
    return run_study(tiny.study(pictures, **table(pictures)), out), out


def by_row(audit: Audit) -> dict[tuple[str, str], Cell]:
    return {(cell.settings["defence"]["name"], cell.knowledge): cell for cell in audit.cells}


def test_the_outcomes_of_each_row_make_the_whole(audit: tuple[Audit, Path]) -> None:
    for cell in audit[0].cells:
        shares = [cell.metrics[name].value for name in ("correct", "wrong", "rejected")]
        assert sum(shares) == pytest.approx(1) and cell.goal == "untargeted"
        assert shares == [count / 36 for count in vars(cell.outcomes).values()]
        assert cell.metrics["reached"] == cell.metrics["wrong"]
        assert cell.metrics["accuracy"].value == cell.metrics["original_top1"].value
        assert set(cell.controls) == {"always_accept", "always_reject"} and cell.risk
        assert not [name for name in cell.metrics if "target" in name]
        assert ("asr_conditional" in cell.metrics) == (cell.knowledge != "clean")


def test_records_hold_no_target(audit: tuple[Audit, Path]) -> None:
    for record in Log(audit[1] / "records.jsonl"):
        assert not [key for key in record if "target" in key]
        assert record["reached"] == (record["outcome"] == "wrong")
        assert record["rejected"] == (record["outcome"] == "rejected")
        assert record["captured"] == record["reached"]
        assert record["right"] == (record["answer"] == record["truth"])


def test_whoever_knows_the_shield_gets_more_past_it(audit: tuple[Audit, Path]) -> None:
    rows = by_row(audit[0])
    assert rows[("undefended", "oblivious")].metrics["wrong"].value == 1
    blind, knowing = rows[("multishield", "oblivious")], rows[("multishield", "adaptive")]
    assert blind.outcomes.rejected > 0
    assert knowing.metrics["reached"].value > blind.metrics["reached"].value
    # An oblivious image is right neither accepted nor rejected: the gain is refusal alone.
    assert blind.controls["always_accept"]["accuracy"].value == 0
    assert blind.metrics["correct_or_rejected"].value == blind.metrics["rejected"].value


def test_the_headline_is_the_worst_of_all_sample_by_sample(audit: tuple[Audit, Path]) -> None:
    found, folder = audit
    records = list(Log(folder / "records.jsonl"))
    for headline in found.headline:
        fooled = {r["sample"] for r in records if r["cell"] in headline.rows and r["reached"]}
        assert headline.success is not None and headline.worst_target_top1 is None
        assert headline.success.value == pytest.approx(len(fooled) / 36)
        assert headline.clean_rejected is not None
    assert "gets a wrong answer accepted on" in (folder / "report.html").read_text("utf-8")


def test_a_victim_that_rejects_is_attacked_over_k_plus_one_scores(pictures: Path) -> None:
    made = plan(tiny.study(pictures, **table(pictures)))
    rows = made.task.rows[:4]
    for cell in made.cells:
        if cell.forge is None or cell.knowledge == "transfer":
            continue
        batch = made.task.batch(rows, cell.defence.model)
        wish = objective(cell.forge, batch, made.task)
        assert isinstance(wish, Bout) and wish.classes == 6
        shielded = cell.defence.registered_name == "multishield" and cell.knowledge == "adaptive"
        assert wish.rejects == shielded
        assert wish.losing.shape == wish.look(batch.images, batch.keys).scores.shape[:1] + (
            2 if shielded else 1,
        )  # fmt: skip


@pytest.mark.parametrize(("ensemble", "parts"), [("mean", 1), ("sequential", 2)])
def test_several_surrogates_are_fooled_together(pictures: Path, ensemble: str, parts: int) -> None:
    changes = table(
        pictures, surrogates=["python:tests.tiny:other", "python:tests.tiny:third"],
        knowledge=["transfer"], attack={"name": "illusion", "steps": 5, "ensemble": ensemble},
        defences=[{"name": "undefended"}],
    )  # fmt: skip
    made = plan(tiny.study(pictures, **changes))
    cell = made.cells[-1]
    batch = made.task.batch(made.task.rows[:4], cell.defence.model)
    assert cell.forge is not None
    wish = objective(cell.forge, batch, made.task)
    assert isinstance(wish, Melee) and len(wish.parts) == parts
    found = cell.forge.attack(wish, batch.images, cell.forge.threat, batch.keys)
    assert bool(wish(found.x, batch.keys).reached.any())


def test_what_an_attacker_believes_is_what_he_attacks_and_his_row_says_it(
    pictures: Path, audited: Callable[..., Audit]
) -> None:
    beliefs = [{}, {"opinions": ["python:tests.tiny:other"], "tolerance": [0.001, 0.1]}]
    changes = table(
        pictures, knowledge=["adaptive"], defences=[SHIELD],
        adaptive={"steps": 20, "instead": beliefs},
    )  # fmt: skip
    made = plan(tiny.study(pictures, **changes))
    knowing = [cell for cell in made.cells if cell.forge]
    assert [cell.forge.settings["instead"] for cell in knowing if cell.forge] == [
        {}, *({"opinions": "python:tests.tiny:other", "tolerance": t} for t in (0.001, 0.1)),
    ]  # fmt: skip
    for cell in knowing:
        assert cell.forge is not None
        (victim,) = cell.forge.victims
        assert (victim == cell.defence) == (not cell.forge.settings["instead"])
        assert cell.defence.opinions == "python:tests.tiny:third"  # type: ignore[attr-defined]
    audit = audited(**changes)
    rows = [c for c in audit.cells if c.knowledge == "adaptive"]
    assert rows[0].metrics["reached"].value >= max(r.metrics["reached"].value for r in rows[1:])
    assert rows[1].settings["attack"]["instead"]["opinions"] == "python:tests.tiny:other"


def test_an_attacker_cannot_believe_in_what_the_defence_does_not_have(pictures: Path) -> None:
    from secondlook.errors import SecondlookError

    changes = table(pictures, adaptive={"instead": {"opinion": "x"}}, defences=[SHIELD])
    with pytest.raises(SecondlookError, match=r"'opinion'; did you mean opinions"):
        plan(tiny.study(pictures, **changes))
    changes = table(pictures, adaptive={"instead": "x"}, defences=[SHIELD])
    with pytest.raises(SecondlookError, match=r"instead = 'x' is no table"):
        plan(tiny.study(pictures, **changes))


def test_attacks_stand_side_by_side_each_with_rows_of_its_own(pictures: Path) -> None:
    changes = table(pictures) | {
        "attacks": [
            {"name": "pgd", "steps": [2, 3], "knowledge": ["oblivious"]},
            {"name": "apgd", "steps": 4},
            {"name": "square", "queries": 10, "knowledge": ["adaptive"]},
        ],
        "knowledge": ["clean", "adaptive"],
    }
    del changes["attack"], changes["adaptive"]
    given = tiny.table(pictures) | changes
    del given["attack"], given["adaptive"]
    from secondlook.audit.study import parse

    made = plan(parse(given, "the test"))
    rows = [
        (cell.knowledge, cell.forge.settings["name"] if cell.forge else "")
        for cell in made.cells if cell.defence.registered_name == "multishield"
    ]  # fmt: skip
    assert rows == [
        ("clean", ""), ("oblivious", "pgd"), ("oblivious", "pgd"),
        ("adaptive", "apgd"), ("adaptive", "square"),
    ]  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Pair(PGD):
    """A plain search, and a bolder one for whom it did not fool."""

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> Attacked:
        """Whom the first fools the second leaves alone."""
        over: Contest = contest(objective, "pair")
        first = PGD(steps=1, step=5 / 255, random_start=False).search(
            objective, clean, threat, keys.fold("first")
        )
        second = super().search(objective, clean, threat, keys.fold("second"))
        done = over(first.x, keys).reached
        x = torch.where(done[:, None, None, None], first.x, second.x)
        fooled = over(x, keys).reached
        by = torch.where(done, 0, torch.where(fooled, 1, -1))
        return Attacked(x, second.trace, ("half of it is weak",), by, ("timid", "bold"))


@pytest.mark.usefixtures("own_registry")
def test_members_and_notices_are_kept_and_a_second_run_has_the_same(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("attack", "pair")(Pair)
    study = tiny.study(pictures, **table(
        pictures, attack={"name": "pair", "steps": 8}, adaptive={}, threat={"eps": ["8/255"]},
        knowledge=["oblivious"], defences=[{"name": "undefended"}],
    ))  # fmt: skip
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
    monkeypatch.setattr("secondlook.audit.craft.craft", None)
    again = run_study(study, tmp_path / "run")
    assert records.read_bytes() == whole
    assert again.cells[-1].members == cell.members and again.cells[-1].notices == cell.notices
    assert "half of it is weak" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_where_everything_is_wrong_already_there_is_nothing_to_attack(
    pictures: Path, audited: Callable[..., Audit]
) -> None:
    audit = audited(**table(
        pictures, models=["python:tests.tiny:contrary"],
        attack={"name": "pgd", "steps": 8, "random_start": False, "early_exit": True},
        adaptive={}, defences=[{"name": "undefended"}], knowledge=["oblivious", "adaptive"],
    ))  # fmt: skip
    clean, *attacked = audit.cells
    assert clean.metrics["accuracy"].value == 0
    for cell in attacked:
        assert cell.metrics["wrong"].value == 1 and cell.metrics["accuracy_drop"].value == 0
        assert "asr_conditional" not in cell.metrics
        told = {check.check: check for check in cell.health}
        assert told["something to attack"].status == "warn"
        assert told["something to attack"].detail.startswith("36 of 36 samples were fooled")
        assert "gradients alive" not in told
    assert [headline.status for headline in audit.headline] == ["shown"]


def test_the_probe_without_a_bound_asks_for_any_wrong_answer(audit: tuple[Audit, Path]) -> None:
    probes = [line for line in Log(audit[1] / "ledger.jsonl") if "probe" in line]
    assert len(probes) == 2 and all(p["n"] == PROBED and p["reached"] == 1 for p in probes)


def test_a_study_must_not_calibrate_on_what_it_measures(pictures: Path) -> None:
    from secondlook.errors import SecondlookError

    shield = SHIELD | {"false_rejection": 0.1, "calibrate_on": f"folder:{pictures}"}
    with pytest.raises(SecondlookError, match="are also calibrated on"):
        plan(tiny.study(pictures, **table(pictures, defences=[shield])))
