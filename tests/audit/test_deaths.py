"""Dead at any operation on a file, the same command ends with the same records, figures and costs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from secondlook.audit.api import run_study
from secondlook.audit.study import Study
from tests.audit.conftest import TASKS
from tests.audit.deaths import Killed, Mortal, state
from tests.audit.settings import MIRROR
from tests.audit.test_run import ROOT

SMALL = {
    "classification": {"batch": 3, "task": {"samples": 4}},
    "unlabeled": {"batch": 3, "task": {"samples": 4}},
    "captioning": {"batch": 2, "task": {"samples": 3}, "defenses": [MIRROR], "attack": {"name": "mortal"}},
    "grounding": {"batch": 2, "task": {"samples": 3}, "attacks": [{"name": "mortal"}]},
    "retrieval": {"batch": 2, "task": {"samples": 3, "attacked": ["both"]}},
}
DEATHS = 5
"""Of each task, here; ``benchmarks/bench_deaths.py`` dies at all of them."""


def small(task: str, request: pytest.FixtureRequest) -> Study:
    """A study of a few samples of a task; MirrorCheck guards the captioner."""
    make, changes = request.getfixturevalue(task), dict(SMALL[task])
    table = {**make().task, **changes.pop("task")}
    study: Study = make(**{**changes, "task": table, "examples": 1})
    return study


@pytest.mark.parametrize("half", [False, True], ids=["before", "halfway"])
@pytest.mark.parametrize("task", TASKS)
def test_dead_at_any_operation_on_a_file_nothing_is_lost(
    task: str, half: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    study, counter = small(task, request), Mortal()
    with counter.living():
        whole = state(tmp_path / "whole", run_study(study, tmp_path / "whole"))
    assert counter.count > 20 * DEATHS / 4
    for number in range(DEATHS):
        at = 1 + (number * 2 + half) * counter.count // (2 * DEATHS)
        folder, mortal = tmp_path / f"dead-{at}", Mortal(at, half)
        with mortal.living(), pytest.raises(Killed):
            run_study(study, folder)
        assert state(folder, run_study(study, folder)) == whole, at
        assert not list(folder.rglob(".*.part"))


def test_no_score_depends_on_the_order_of_a_set() -> None:
    code = (
        "from secondlook.metrics.cider import Cider\n"
        "texts = [' '.join(f'w{(n * n + k) % 23}' for n in range(k, 30)) for k in range(12)]\n"
        "print(Cider.of([[text] for text in texts]).scores(texts[1:] + texts[:1]))"
    )
    found = set()
    for seed in ("0", "1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT / "src")}
        command = [sys.executable, "-c", code]
        found.add(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)
    (scores,) = found
    assert len(scores) > 150
