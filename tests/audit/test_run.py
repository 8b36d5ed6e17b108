"""Killed, sharded, shuffled or batched otherwise: a run ends with the same records."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from secondlook import registry
from secondlook.audit import craft as craft_room
from secondlook.audit import finish, probes, store
from secondlook.audit import run as run_room
from secondlook.audit.api import merge_runs, run_study
from secondlook.audit.plan import plan
from secondlook.audit.run import Shard, execute
from secondlook.audit.schema import Audit
from secondlook.audit.store import Log, Run, load_tensors
from secondlook.audit.study import parse
from secondlook.data import load
from secondlook.data.base import Samples, Source
from secondlook.errors import BrokenRun, InvalidInput
from secondlook.models import listed
from secondlook.registry import register
from secondlook.tasks.zeroshot import OpenTask, ZeroShotTask
from tests import tiny
from tests.audit.conftest import Whole

ROOT = Path(__file__).resolve().parents[2]
KILLS = 8

# One process imports what a run needs and never computes itself; each attempt is a fork of it,
# killed after a share of a whole run's time that is drawn anew; the last comes to its end.
KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
from tests import tiny
from secondlook.audit.api import run_study
import scipy.stats, PIL.PngImagePlugin, jinja2

pictures, out, seed, kills = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
draws, seen = random.Random(seed), []

def attempt(out, patience):
    child = os.fork()
    if child == 0:
        run_study(tiny.study(pictures), out)
        os._exit(0)
    if patience is not None:
        time.sleep(patience)
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]

began = time.monotonic()
assert attempt(out + "-whole", None) == 0
whole = time.monotonic() - began
for number in range(kills + 1):
    status = attempt(out, draws.uniform(0.05, 0.4) * whole if number < kills else None)
    records = Path(out, "records.jsonl")
    seen.append([status, records.stat().st_size if records.exists() else 0])
print(json.dumps(seen))
"""


def figures(audit: Audit) -> list[dict[str, Any]]:
    """All of a result but what it cost in seconds and bytes."""
    return [
        cell.model_dump(exclude={"ledger"})
        | {"forwards": cell.ledger.forwards, "attack": cell.ledger.attack_forwards}
        for cell in audit.cells
    ] + [headline.model_dump() for headline in audit.headline]


def by_sample(folder: Path) -> dict[tuple[str, str], str]:
    """Each record's text under its cell and sample."""
    lines = (folder / "records.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    found = {(r["cell"], r["sample"]): line for r, line in zip(records, lines, strict=True)}
    assert len(found) == len(lines)
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_killed_at_random_moments_the_records_are_the_same_bytes(
    pictures: Path, whole: Whole, tmp_path: Path, seed: int
) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-c", KILLER, str(pictures), str(out), str(seed), str(KILLS)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    attempts = json.loads(done.stdout)
    assert attempts[-1][0] == 0, done.stderr
    killed = [size for status, size in attempts if status == 9]
    # Some kills came in the middle of the run.
    assert any(0 < size < len(whole.records) for size in killed), attempts
    assert (out / "records.jsonl").read_bytes() == whole.records
    assert figures(finish.read_audit(out)) == figures(whole.audit)


class Stop(BaseException):
    """A kill at a chosen moment: nothing catches it."""


@dataclass
class Countdown:
    """Calls ``real`` and then is killed, or is killed before; at the call number ``at``."""

    real: Callable[..., Any]
    at: int
    before: bool

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.at -= 1
        if self.at == 0 and self.before:
            raise Stop
        result = self.real(*args, **kwargs)
        if self.at == 0:
            raise Stop
        return result


@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 9])
@pytest.mark.parametrize("where", [(Log, "append"), (store, "write_atomic")], ids=["log", "file"])
def test_killed_between_two_writes_nothing_is_lost_or_counted_twice(
    pictures: Path, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    where: tuple[Any, str], at: int, before: bool,
) -> None:  # fmt: skip
    countdown = Countdown(getattr(*where), at, before)
    if where[0] is Log:
        monkeypatch.setattr(Log, "append", lambda self, records: countdown(self, list(records)))
        countdown.real = lambda self, records, real=countdown.real: real(self, records)
    else:
        monkeypatch.setattr(*where, countdown)
    with pytest.raises(Stop):
        run_study(tiny.study(pictures), tmp_path)
    monkeypatch.undo()
    audit = run_study(tiny.study(pictures), tmp_path)
    assert (tmp_path / "records.jsonl").read_bytes() == whole.records
    assert figures(audit) == figures(whole.audit)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.93])
def test_torn_files_are_made_again(
    pictures: Path, whole: Whole, tmp_path: Path, share: float
) -> None:
    run_study(tiny.study(pictures), tmp_path)
    records = tmp_path / "records.jsonl"
    records.write_bytes(whole.records[: int(share * len(whole.records))])
    torn = sorted((tmp_path / "adversarial").rglob("*.safetensors"))
    for path in torn[::2]:
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    audit = run_study(tiny.study(pictures), tmp_path)
    assert records.read_bytes() == whole.records
    assert figures(audit) == figures(whole.audit)


def test_a_finished_run_attacks_nothing_again(
    pictures: Path, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_study(tiny.study(pictures), tmp_path)
    ledger = (tmp_path / "ledger.jsonl").read_bytes()
    monkeypatch.setattr(craft_room, "craft", None)
    monkeypatch.setattr(probes, "craft", None)
    monkeypatch.setattr(run_room, "decide", None)
    assert figures(run_study(tiny.study(pictures), tmp_path)) == figures(whole.audit)
    assert (tmp_path / "ledger.jsonl").read_bytes() == ledger


def test_the_disk_fills_up_and_the_run_goes_on_when_there_is_room(
    pictures: Path, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.audit.test_store import FullDisk

    for room in (10_000, 20_000, 60_000):
        monkeypatch.setattr(store, "open", FullDisk(room), raising=False)
        with pytest.raises(BrokenRun, match="No space left on device; finished records are safe"):
            run_study(tiny.study(pictures), tmp_path)
        kept = (tmp_path / "records.jsonl").read_bytes()
        assert whole.records.startswith(kept) and kept[-1:] in (b"\n", b"")
    monkeypatch.undo()
    audit = run_study(tiny.study(pictures), tmp_path)
    assert (tmp_path / "records.jsonl").read_bytes() == whole.records
    assert figures(audit) == figures(whole.audit)


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


def test_a_shard_of_nothing_is_an_empty_result(pictures: Path, tmp_path: Path) -> None:
    audit = run_study(tiny.study(pictures), tmp_path, Shard(9, 9))
    assert audit.cells == [] and audit.headline == []
    assert (tmp_path / "report.html").exists()


def test_what_does_not_belong_together_is_not_merged(
    pictures: Path, whole: Whole, tmp_path: Path
) -> None:
    run_study(tiny.study(pictures, seed=1), tmp_path / "other", Shard(1, 5))
    with pytest.raises(BrokenRun, match="are of different studies or versions"):
        merge_runs([whole.folder, tmp_path / "other"], tmp_path / "merged")
    assert not (tmp_path / "merged").exists()
    with pytest.raises(BrokenRun, match="is one of the parts"):
        merge_runs([whole.folder], whole.folder)
    with pytest.raises(BrokenRun, match=r"run\.json is missing"):
        merge_runs([whole.folder, tmp_path / "nothing"], tmp_path / "merged")


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/2", "1/2/3", ""])
def test_shards_that_are_none(text: str) -> None:
    with pytest.raises(InvalidInput, match="shard"):
        Shard.parse(text)


def test_every_chunk_is_in_one_shard() -> None:
    assert Shard.parse("2/4") == Shard(2, 4)
    for chunk in range(20):
        assert sum(Shard(index, 4).holds(chunk) for index in range(1, 5)) == 1


class Shuffled(Source):
    """Another source's images in another order."""

    def __init__(self, inner: Source, seed: int) -> None:
        self.inner, self.order = inner, list(range(len(inner)))
        random.Random(seed).shuffle(self.order)
        self.ids = tuple(inner.ids[row] for row in self.order)
        self.classes, self.prompt = inner.classes, inner.prompt

    def read(self, rows: Any, size: tuple[int, int] | None) -> Samples:
        return self.inner.read([self.order[row] for row in rows], size)


def _columns(folder: Path) -> dict[tuple[str, ...], dict[str, Any]]:
    """Records by what their cell is rather than by its hash, and by sample."""
    cells = {cell.id: (cell.defence, cell.knowledge) for cell in finish.read_audit(folder).cells}
    found = {}
    for record in Log(folder / "records.jsonl"):
        values = {key: value for key, value in record.items() if key != "cell"}
        found[(*cells[record["cell"]], record["sample"])] = values
    return found


@pytest.mark.parametrize("target", ["text", "image"])
@pytest.mark.usefixtures("own_registry")
def test_neither_batch_size_nor_order_is_felt(pictures: Path, tmp_path: Path, target: str) -> None:
    @register("task", "shuffled")
    @dataclass(frozen=True, kw_only=True)
    class ShuffledTask(ZeroShotTask):
        """The same images in another order."""

        order: int = 0

        def open(self) -> OpenTask:
            return OpenTask(self, Shuffled(load(self.data), self.order))

    runs = {}
    for batch, order in ((16, None), (64, None), (5, 1), (64, 2)):
        task = {"data": f"folder:{pictures}", "target": target, "samples": 30}
        if order is not None:
            task |= {"name": "shuffled", "order": order}
        out = tmp_path / f"{batch}-{order}"
        run_study(tiny.study(pictures, batch=batch, task=task), out)
        runs[out.name] = _columns(out)
    first = runs.pop("16-None")
    assert len(first) == 8 * 30
    for name, columns in runs.items():
        assert columns == first, name


def test_the_draws_of_a_run_leave_the_global_generator_alone(
    pictures: Path, tmp_path: Path
) -> None:
    from tests.analytic import global_generators

    before = global_generators()
    run_study(tiny.study(pictures), tmp_path)
    assert global_generators() == before


def test_a_randomised_defence_is_asked_again_with_fresh_draws(whole: Whole) -> None:
    cells = {cell.id: cell for cell in whole.audit.cells}
    fractions = set()
    for record in Log(whole.folder / "records.jsonl"):
        assert record["target_top1_worst"] >= record["target_top1"]
        assert record["original_top1_worst"] <= record["original_top1"]
        thirds = [round(3 * record[name]) for name in ("target_top1", "original_top1")]
        for name, hits in zip(("target", "original"), thirds, strict=True):
            assert record[f"{name}_top1"] == pytest.approx(hits / 3)
            assert record[f"{name}_top1_vote"] == (hits >= 2)
        assert record["target_top1_worst"] == (thirds[0] > 0)
        assert record["original_top1_worst"] == (thirds[1] == 3)
        if cells[record["cell"]].defence == "undefended":
            assert set(thirds) <= {0, 3}
        else:
            fractions |= set(thirds)
    # The fresh decisions do differ, else the above would hold of any repeated one.
    assert fractions == {0, 1, 2, 3}


def test_the_attack_of_a_defence_s_records_is_what_the_files_hold(
    pictures: Path, whole: Whole
) -> None:
    made = plan(tiny.study(pictures))
    run = Run(whole.folder)
    forges = {cell.forge.id: cell for cell in made.cells if cell.forge}
    assert len(forges) == 3  # The bare model's serves both defences; transfer, and one that knows.
    for forge, cell in forges.items():
        held = load_tensors(run.adversarial(forge, 0))
        assert held is not None and cell.forge is not None
        clean = made.task.batch(made.task.rows[:12], cell.defence.model).images
        assert held[0]["images"].dtype == torch.uint8
        moved = (held[0]["images"] - (clean * 255).round()).abs().amax()
        assert 0 < moved <= 16
        assert held[1]["attack"] == cell.forge.settings
        assert held[1]["cost"]["forwards"] > 0


@pytest.mark.usefixtures("own_registry")
def test_an_attack_that_cheats_is_caught_when_its_file_is_read(
    pictures: Path, whole: Whole, tmp_path: Path
) -> None:
    study = tiny.study(pictures)
    run = execute(plan(study), tmp_path, Shard(), lambda *_: None)
    path = sorted((tmp_path / "adversarial").rglob("00000.safetensors"))[0]
    held = load_tensors(path)
    assert held is not None
    held[0]["images"] ^= 64
    store.save_tensors(path, *held)
    (tmp_path / "records.jsonl").unlink()
    from secondlook.errors import BrokenThreat

    with pytest.raises(BrokenThreat, match="above eps"):
        execute(plan(study), run.folder, Shard(), lambda *_: None)


PLUGIN = '''
"""Somebody else's attack and defence."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F

from secondlook.attacks.base import Attack, input_gradient
from secondlook.attacks.climb import Climb
from secondlook.decision import Decision, Glimpse
from secondlook.defenses.base import Defence
from secondlook.models import listed
from secondlook.registry import register


@register("attack", "outside-jump")
@dataclass(frozen=True, kw_only=True)
class Jump(Attack):
    """One long jump, and a look back."""

    hops: int = 2

    def search(self, objective, clean, threat, keys):
        climb = Climb(objective, clean, clean.clone(), keys)
        for hop in range(self.hops):
            gradient, judged = input_gradient(objective, climb.x, keys.fold("step", hop))
            climb.note(judged, gradient, hop, self.hops)
            climb.x = threat.project(climb.x + threat.ascend(gradient, threat.eps), clean)
        climb.settle()
        return climb.finish()


@register("defence", "outside-mirror")
@dataclass(frozen=True, kw_only=True)
class Mirror(Defence):
    """Rejects what looks otherwise when it is darker."""

    by: float = 0.05

    def judge(self, x, keys):
        seen = self.glimpse(x, keys)
        chosen = seen.scores.argmax(-1)
        return Decision(
            scores=seen.scores.mean(1), features=seen.features.mean(1),
            accepted=chosen[:, 0] == chosen[:, 1],
            suspicion=(seen.scores[:, 0] - seen.scores[:, 1]).abs().amax(1),
            votes=F.one_hot(chosen, seen.scores.shape[-1]).sum(1),
            draws=torch.full_like(chosen[:, 0], 2),
        )

    def glimpse(self, x, keys, draws=1, gradient="full"):
        features = torch.stack([self.model.features(v) for v in (x, (x - self.by).clamp(0, 1))], 1)
        return Glimpse(features=features, scores=self.model.scores(features))
'''


@pytest.mark.usefixtures("own_registry")
def test_an_outside_attack_and_defence_need_no_change_of_the_package(
    audited: Callable[..., Audit], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "somebodys_plugin.py").write_text(PLUGIN)
    monkeypatch.chdir(tmp_path)
    audit = audited(
        plugins=["somebodys_plugin"], attack={"name": "outside-jump", "hops": [2, 3]}, adaptive={},
        defences=[{"name": "undefended"}, {"name": "outside-mirror", "by": [0.02, 0.2]}],
    )  # fmt: skip
    assert registry.find("attack", "outside-jump").__name__ == "Jump"
    rows = {
        (c.defence, c.knowledge): c for c in audit.cells if c.attack in ("none", "outside-jump")
    }
    assert len(audit.cells) == 3 * (1 + 3 * 2) == sum(1 for _ in audit.cells)
    assert {c.settings["attack"].get("hops") for c in audit.cells} == {None, 2, 3}
    assert rows[("undefended", "oblivious")].metrics["target_top1"].value > 0.5
    mirror = [c for c in audit.cells if c.defence == "outside-mirror"]
    assert {c.settings["defence"]["by"] for c in mirror} == {0.02, 0.2}
    assert any(c.outcomes.rejected for c in mirror)
    del sys.modules["somebodys_plugin"]


def test_on_the_embedded_world_batches_agree_but_for_float_noise(tmp_path: Path) -> None:
    if "clip" not in listed("scenes"):
        pytest.skip("the embedded world has no weights of scenes:clip")
    found = {}
    for batch in (4, 12):
        study = parse(
            {
                "name": "small", "batch": batch, "task": {"samples": 12}, "models": ["scenes:clip"],
                "attack": {"name": "illusion", "steps": 5}, "knowledge": ["oblivious"],
                "defences": [{"name": "undefended"}, {"name": "jpeg"},
                             {"name": "noise", "sigma": 0.05, "samples": 3}],
            },
            "the test",
        )  # fmt: skip
        run_study(study, tmp_path / str(batch))
        found[batch] = _columns(tmp_path / str(batch))
    assert found[4].keys() == found[12].keys() and len(found[4]) == 3 * 2 * 12
    agree = [found[4][key]["outcome"] == found[12][key]["outcome"] for key in found[4]]
    assert sum(agree) >= len(agree) - 1
    for key, record in found[4].items():
        assert record["cosine_target"] == pytest.approx(found[12][key]["cosine_target"], abs=0.02)
        assert record["target"] == found[12][key]["target"]
