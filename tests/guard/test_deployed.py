"""A guard is audited with the thresholds of its file, and the file says what came of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

import secondlook as sl
from secondlook.audit.api import run_study
from secondlook.audit.plan import plan
from secondlook.audit.store import Run
from secondlook.audit.study import Study, parse, read
from secondlook.errors import InvalidInput
from secondlook.guard.deployed import Deployed
from secondlook.guard.policy import Kind, read as read_policy
from secondlook.guard.recommended import write_recommended
from secondlook.randomness import Keys

ATTACK = {"name": "synthesis", "objective": "untargeted", "steps": 4, "knowledge": ["adaptive"]}


def small(samples: int, **changes: object) -> Study:
    table = read("as-deployed").model_dump(exclude_unset=True)
    table["task"] = {**table["task"], "samples": samples}
    return parse(
        table | {"attacks": [ATTACK], "diagnosed": 0, "rescore": 1, "batch": 30, "examples": 0, **changes}, "here"
    )


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("guard") / "guard.toml"
    sl.Guard("scenes:classifier", ["squeezing", "magnet"], alpha=0.1, calibrate_samples=60).save(path)
    return path


def test_the_study_has_the_thresholds_of_the_file(policy: Path) -> None:
    made, guard = Deployed(policy), sl.Guard.load(policy)
    rows = [row for row in plan(made.study(small(4))).rows if row.knowledge == "clean"]
    assert [row.guarded.bare for row in rows] == [True, False]
    deployed = rows[1].guarded
    assert deployed.threshold == guard.threshold and deployed.calibration is None
    x, keys = torch.rand(6, 3, 64, 64, generator=torch.Generator().manual_seed(0)), Keys.of(0, range(6))
    assert torch.equal(deployed.decide(x, keys).suspicion, guard.guarded.decide(x, keys).suspicion)


def test_a_result_is_written_into_the_file_unless_it_is_withheld(policy: Path, tmp_path: Path) -> None:
    place, told, kept = tmp_path / "guard.toml", list[str](), list[Any]()
    place.write_bytes(policy.read_bytes())
    made = Deployed(place, told.append)
    audit = run_study(made.study(small(4)), tmp_path / "run", ended=lambda *of: kept.extend(of) or made.ended(*of))
    assert place.read_bytes() == policy.read_bytes() and "withheld: adaptive: enough samples failed" in told[0]
    assert "% got through" in told[0]
    shown = [each.model_copy(update={"status": "shown"}) for each in audit.headline]
    made.ended(kept[0], kept[1], audit.model_copy(update={"headline": shown}))
    (headline,) = [each for each in audit.headline if each.defense != "undefended"]
    found = read_policy(place)
    assert found.audited is not None and headline.worst_reached is not None
    assert found.audited.through[0] == headline.worst_reached.value > 0
    assert (found.audited.n, found.audited.threat, found.audited.attack) == (4, "L∞ 8/255", "synthesis")
    assert found.audited.config == audit.provenance["config_hash"]
    assert set(found.audited.spent) == set(get_args(Kind)) and found.audited.spent["clean"].stages > 1
    assert found.model_copy(update={"audited": None}) == read_policy(policy)
    assert found.audited.said in told[1] and found.audited.cost in told[1]
    assert sl.Guard.load(place).policy == found


def test_images_that_were_calibrated_on_are_refused(policy: Path) -> None:
    made = Deployed(policy)
    study = made.study(small(4, task={"name": "classification", "data": "scenes:calibration", "samples": 4}))
    with pytest.raises(InvalidInput, match="also calibrated on"):
        made.check(study)


def test_other_classes_than_those_of_the_data_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "guard.toml"
    sl.Guard("scenes:clip", "squeezing", alpha=0.2, classes=["red circle", "blue star"], calibrate_samples=20).save(
        path
    )
    made = Deployed(path)
    with pytest.raises(InvalidInput, match="have other classes"):
        made.check(made.study(small(4)))


def test_each_budget_has_its_guard_beside_the_report(tmp_path: Path) -> None:
    detecting = [{"name": name, "false_rejection": 0.2, "calibrate_samples": 20} for name in ("squeezing", "magnet")]
    others = [{"name": name} for name in ("undefended", "jpeg", "noise")] + [{"name": "jpeg", "quality": 20}]
    study = small(2, guards=True, defenses=[*others, *detecting], attacks=[ATTACK | {"steps": 1}])
    kept: list[Any] = []
    audit = run_study(study, tmp_path, ended=lambda *of: kept.extend(of))
    cells = [cell.model_copy(update={"health": []}) for cell in audit.cells]
    made, run, told = kept[0], Run(tmp_path), list[str]()
    found = write_recommended(made, run, audit.model_copy(update={"cells": cells}), write=told.append)
    assert {path.name for path in found} <= {f"guard-{name}.toml" for name in ("cheap", "balanced", "strong")}
    assert found and len(told) == 3
    guard = sl.Guard.load(found[-1])
    assert guard.policy.audited is not None and guard.policy.audited.n == 2
    name = guard.policy.defense["name"]
    (row,) = [row for row in made.rows if row.settings["name"] == name and row.knowledge == "clean"]
    assert guard.threshold == row.guarded.threshold and len(guard.policy.calibration.scores) == 20
    assert write_recommended(replace(made, study=small(2)), run, audit, write=told.append) == []
