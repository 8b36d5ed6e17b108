"""A whole audit in one call: shards, merges, other devices, and what others bring along."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from secondlook import registry
from secondlook.audit import finish
from secondlook.audit.api import merge_runs, run_study
from secondlook.audit.plan import Shard
from secondlook.errors import InvalidInput
from secondlook.schema import Audit
from tests import tiny
from tests.audit.conftest import Make, Run, Whole
from tests.audit.test_run import by_sample, figures


def test_shards_put_together_are_the_whole(pictures: Path, whole: Whole, tmp_path: Path) -> None:
    folders = [tmp_path / f"part-{index}" for index in (1, 2, 3)]
    for index, folder in enumerate(folders, start=1):
        part = run_study(tiny.study(pictures), folder, Shard(index, 3))
        assert {cell.n for cell in part.cells} == {12}
    # The order of the folders does not matter, nor does a merge that is done twice.
    for order in (folders, folders[::-1]):
        merged = merge_runs(order, tmp_path / "merged")
        assert by_sample(tmp_path / "merged") == by_sample(whole.folder)
        assert figures(merged) == figures(whole.audit)
    assert figures(finish.read_audit(tmp_path / "merged")) == figures(whole.audit)


def test_a_study_that_was_run_can_be_saved_elsewhere(pictures: Path, tmp_path: Path) -> None:
    audit = run_study(tiny.study(pictures), tmp_path / "run")
    saved = audit.save(tmp_path / "kept")
    assert figures(finish.read_audit(saved)) == figures(audit)


def test_more_shards_than_samples_write_nothing(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="37 shards of 36 sample"):
        run_study(tiny.study(pictures), tmp_path / "run", Shard(9, 37))
    assert not any((tmp_path / "run").glob("*.json*"))


@pytest.mark.parametrize("task", ["classification", "captioning", "grounding"])
def test_shards_of_every_task_make_the_whole(
    task: str, tmp_path: Path, ran: Run, request: pytest.FixtureRequest
) -> None:
    """Those of a task that is scored as a whole are in ``test_collective``."""
    study = request.getfixturevalue(task)()
    whole, audit = ran(study)
    folders = [tmp_path / f"part-{i}" for i in (1, 2)]
    for i, folder in enumerate(folders, start=1):
        assert run_study(study, folder, Shard(i, 2)).cells
    merged = merge_runs(folders, tmp_path / "merged")
    same = {"metrics", "health", "outcomes", "id"}
    assert [c.model_dump(include=same) for c in merged.cells] == [c.model_dump(include=same) for c in audit.cells]
    assert by_sample(tmp_path / "merged") == by_sample(whole)


def test_a_gallery_of_a_shard_shows_what_it_has(captioning: Make, tmp_path: Path) -> None:
    run_study(captioning(examples=9), tmp_path / "part", Shard(2, 3))
    shown = finish.read_examples(tmp_path / "part" / "gallery.json")
    assert shown and len(shown) < 9


def test_a_study_by_its_file_is_told_of_as_it_goes_on(pictures: Path, tmp_path: Path) -> None:
    path, told = tmp_path / "mine.toml", list[tuple[int, int, str]]()
    path.write_text(
        f'models = ["python:tests.tiny:eye"]\nknowledge = ["clean"]\n[task]\ndata = "folder:{pictures}"\nsamples = 6\n'
    )
    audit = run_study(str(path), tmp_path / "run", tick=lambda *each: told.append(each))
    assert audit.study == "mine" and audit.provenance["command"] == "secondlook.run_study"
    assert told[0] == (0, 1, "loading models") and told[-1] == (1, 1, "writing the report")
    with pytest.raises(InvalidInput, match="cuda:99|device"):
        run_study(str(path), tmp_path / "run", device="cuda:99")


PLUGIN = '''
"""Somebody else's attack and defense."""

from dataclasses import dataclass

import torch

from secondlook.attacks.base import Attack, AttackResult, input_gradient
from secondlook.attacks.search_state import TraceRecorder
from secondlook.defenses.base import Defense, Detector
from secondlook.models import listed
from secondlook.registry import register


@register("attack", "outside-jump")
@dataclass(frozen=True, kw_only=True)
class Jump(Attack):
    """One long jump, and a look back."""

    hops: int = 2

    def search(self, objective, clean, threat, keys):
        x, trace, everyone = clean.clone(), TraceRecorder(clean), torch.arange(len(clean))
        for hop in range(self.hops):
            gradient, evaluation = input_gradient(objective, x, keys.fold("step", hop))
            trace.record(everyone, evaluation.loss, gradient, first=hop == 0, early=hop < 2)
            x = threat.project(x + threat.ascend(gradient, threat.eps), clean)
        return AttackResult(x, trace.trace())


class Darker(Detector):
    """Suspicious of what looks otherwise when it is darker: by how far another class leads then."""

    reads_answers = True

    def __init__(self, model, by):
        self.model, self.by = model, by

    @property
    def parts(self):
        return (self.model,)

    def suspicion(self, x, keys, captions=()):
        views = (x, (x - self.by).clamp(0, 1))
        now, dark = (self.model.scores(self.model.features(view)) for view in views)
        return dark.amax(1) - dark.gather(1, now.argmax(1, keepdim=True))[:, 0]


@register("defense", "outside-darker")
@dataclass(frozen=True, kw_only=True)
class ByDarker(Defense):
    """Rejects what looks otherwise when it is darker."""

    by: float = 0.05
    threshold = 0.0

    def detector(self, model):
        return Darker(model, self.by)
'''


@pytest.mark.usefixtures("own_registry")
def test_an_outside_attack_and_defense_need_no_change_of_the_package(
    audited: Callable[..., Audit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "somebodys_plugin.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    audit = audited(
        plugins=["somebodys_plugin"],
        attack={"name": "outside-jump", "hops": [2, 3]},
        adaptive={},
        defenses=[{"name": "undefended"}, {"name": "outside-darker", "by": [0.02, 0.2]}],
    )
    assert registry.find("attack", "outside-jump").__name__ == "Jump"
    rows = {(c.defense, c.knowledge): c for c in audit.cells if c.attack in ("none", "outside-jump")}
    assert len(audit.cells) == (1 + 2 * 2) + 2 * (1 + 3 * 2)
    assert {c.settings["attack"].get("hops") for c in audit.cells} == {None, 2, 3}
    assert rows[("undefended", "adaptive")].metrics["target_top1"].value > 0.5
    darker = [c for c in audit.cells if c.defense == "outside-darker"]
    assert {c.settings["defense"]["by"] for c in darker} == {0.02, 0.2}
    assert any(c.outcomes.rejected for c in darker)
    del sys.modules["somebodys_plugin"]
