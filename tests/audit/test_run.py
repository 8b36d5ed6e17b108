"""Killed, sharded, shuffled or batched otherwise: a run ends with the same records."""

import itertools
import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from secondlook import drafts
from secondlook.audit import collective, finish, generate, run, store
from secondlook.audit.api import run_study
from secondlook.audit.plan import opened, plan
from secondlook.audit.store import Ledger, Log
from secondlook.audit.study import parse
from secondlook.data import load
from secondlook.data.base import Samples, Source
from secondlook.errors import BrokenRun
from secondlook.models import listed
from secondlook.registry import register
from secondlook.schema import Audit, Cell
from secondlook.tasks.base import SAMPLED
from secondlook.tasks.classification import OpenClassification, ZeroShotTask
from tests import tiny
from tests.analytic import global_generators
from tests.audit import shades
from tests.audit.conftest import Make, Run, Whole
from tests.audit.mortal import Mortal
from tests.audit.settings import MIRROR
from tests.audit.test_store import FullDisk
from tests.closeness import same_records

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
        cell.model_dump(exclude={"ledger"}) | {"forwards": cell.ledger.forwards, "attack": cell.ledger.attack_forwards}
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
    pictures: Path,
    whole: Whole,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: tuple[Any, str],
    at: int,
    before: bool,
) -> None:
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
def test_torn_files_are_made_again(pictures: Path, whole: Whole, tmp_path: Path, share: float) -> None:
    run_study(tiny.study(pictures), tmp_path)
    records = tmp_path / "records.jsonl"
    records.write_bytes(whole.records[: int(share * len(whole.records))])
    torn = sorted((tmp_path / "adversarial").rglob("*.safetensors"))
    for path in torn[::2]:
        path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    audit = run_study(tiny.study(pictures), tmp_path)
    assert records.read_bytes() == whole.records
    assert figures(audit) == figures(whole.audit)


def test_a_finished_run_attacks_and_asks_nothing_again(
    any_study: Make, ran: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, audit = ran(any_study())
    ledger, attacked = (folder / "ledger.jsonl").read_bytes(), len(Mortal.made)
    for module, name in ((generate, "generate"), (run, "generate"), (run, "answered")):
        monkeypatch.setattr(module, name, None)
    monkeypatch.setattr(collective, "_Scoring", lambda plan, run, left: None)
    again = run_study(any_study(), folder)
    assert again.cells == audit.cells and again.headline == audit.headline
    assert (folder / "ledger.jsonl").read_bytes() == ledger and len(Mortal.made) == attacked


@pytest.mark.parametrize(
    ("task", "changes"),
    [
        ("classification", {}),
        ("captioning", {}),
        ("grounding", {}),
        ("retrieval", {}),
        ("captioning", {"defenses": [MIRROR], "attack": {"name": "mortal"}}),
    ],
    ids=["classification", "captioning", "grounding", "retrieval", "behind a detector"],
)
def test_killed_at_any_batch_a_run_goes_on_to_the_same_end(
    task: str, changes: dict[str, Any], tmp_path: Path, ran: Run, request: pytest.FixtureRequest
) -> None:
    study = request.getfixturevalue(task)(**changes)
    whole, audit = ran(study)
    attacked = len(Mortal.made)
    assert attacked > 2
    for deadline in range(attacked):
        Mortal.made.clear()
        Mortal.deadline = deadline
        folder = tmp_path / f"killed-{deadline}"
        with pytest.raises(KeyboardInterrupt):
            run_study(study, folder)
        Mortal.deadline = -1
        again = run_study(study, folder)
        assert len(Mortal.made) == attacked
        assert (folder / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
        assert figures(again) == figures(audit)


@pytest.mark.parametrize("torn", [10, 13])
def test_half_written_files_are_made_again(any_study: Make, ran: Run, torn: int) -> None:
    folder, _ = ran(any_study())
    before = (folder / "records.jsonl").read_bytes()
    for part in (folder / "adversarial").glob("*/00001.safetensors"):
        part.write_bytes(part.read_bytes()[:-9])
    lines = before.splitlines(keepends=True)
    (folder / "records.jsonl").write_bytes(b"".join(lines[:torn]) + lines[torn][:20])
    run_study(any_study(), folder)
    assert (folder / "records.jsonl").read_bytes() == before


def test_the_disk_fills_up_and_the_run_goes_on_when_there_is_room(
    pictures: Path, whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in (10_000, 20_000, 60_000):
        disk = FullDisk(room)
        for module in (store, drafts):
            monkeypatch.setattr(module, "open", disk, raising=False)
        with pytest.raises(BrokenRun, match="No space left on device; make room there, and run the same command again"):
            run_study(tiny.study(pictures), tmp_path)
        kept = (tmp_path / "records.jsonl").read_bytes()
        assert whole.records.startswith(kept) and kept[-1:] in (b"\n", b"")
    monkeypatch.undo()
    audit = run_study(tiny.study(pictures), tmp_path)
    assert (tmp_path / "records.jsonl").read_bytes() == whole.records
    assert figures(audit) == figures(whole.audit)


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
    cells = {cell.id: (cell.defense, cell.knowledge) for cell in finish.read_audit(folder).cells}
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

        def open(self) -> OpenClassification:
            return OpenClassification(self, Shuffled(load(self.data), self.order))

    runs = {}
    for batch, order in ((16, None), (64, None), (5, 1), (64, 2)):
        task = {"data": f"folder:{pictures}", "target": target, "samples": 30}
        if order is not None:
            task |= {"name": "shuffled", "order": order}
        out = tmp_path / f"{batch}-{order}"
        run_study(tiny.study(pictures, batch=batch, task=task), out)
        runs[out.name] = _columns(out)
    first = runs.pop("16-None")
    assert len(first) == 7 * 30
    for name, columns in runs.items():
        assert same_records(columns, first), name


def test_the_draws_of_a_run_leave_the_global_generator_alone(pictures: Path, tmp_path: Path) -> None:
    before = global_generators()
    run_study(tiny.study(pictures), tmp_path)
    assert global_generators() == before


def test_a_randomized_defense_is_asked_again_with_fresh_draws(whole: Whole) -> None:
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
        if cells[record["cell"]].defense == "undefended":
            assert set(thirds) <= {0, 3}
        else:
            fractions |= set(thirds)
    # The fresh decisions do differ, else the above would hold of any repeated one.
    assert fractions == {0, 1, 2, 3}


def _by_row(folder: Path) -> dict[tuple[str, ...], dict[str, Any]]:
    """Records by what their row is rather than by its hash, and by sample."""
    cells = {cell.id: cell for cell in finish.read_audit(folder).cells}
    found = {}
    for record in Log(folder / "records.jsonl"):
        values = {key: value for key, value in record.items() if key != "cell"}
        attack = cells[record["cell"]].settings["attack"]
        names = [str(attack.get(name)) for name in ("name", "objective", "attacked")]
        found[(*names, record["sample"])] = values
    return found


@pytest.mark.parametrize("defense", [{"name": "undefended"}, {"name": "noise", "sigma": 0.05}])
def test_batches_do_not_matter(any_study: Make, ran: Run, defense: dict[str, Any]) -> None:
    few, many = (_by_row(ran(any_study(batch=size, defenses=[defense]))[0]) for size in (3, 10))
    assert few.keys() == many.keys()
    for key, row in few.items():
        for name, value in row.items():
            # Sums over a batch may be made in another order, which is felt in the last digits.
            close = pytest.approx(value, rel=1e-4, abs=1e-5) if type(value) is float else value
            assert many[key][name] == close or name == "caption_cosine", (key, name)


def test_a_randomized_model_is_asked_again(captioning: Make, ran: Run) -> None:
    """Records hold the mean over fresh answers, and the worst of them."""
    defenses = [{"name": "noise", "sigma": 1.0, "samples": 1}]
    found = _by_row(ran(captioning(defenses=defenses, rescore=5))[0]).values()
    assert {row["original_top1"] for row in found} - {0.0, 1.0}
    assert all(row["success_worst"] == float(row["success"] > 0) for row in found)
    assert all(5 * row["success"] == pytest.approx(round(5 * row["success"])) for row in found)


def test_words_that_are_drawn_are_drawn_again(captioning: Make, ran: Run) -> None:
    """Red is drawn by its share of the light, once for each of many answers."""
    task = {"name": "captioning", "data": "shades:9", "samples": 0, "style": "sample"}
    folder, audit = ran(captioning(task=task, rescore=40, knowledge=["clean"]))
    colors = shades.Shades(9).colors
    for record in Log(folder / "records.jsonl"):
        color = colors[int(record["sample"].removeprefix("shade-"))]
        assert record["original_top1"] == pytest.approx(128 / sum(color), abs=0.3)
        assert (40 * record["original_top1"]) % 1 == pytest.approx(0, abs=1e-6)
    steady = [check for check in audit.cells[0].health if check.check.startswith("deterministic")]
    assert steady[0].status == "pass"


def _checks(cell: Cell) -> dict[str, str]:
    return {check.check: check.status for check in cell.health}


def _lines(folder: Path, key: str) -> list[dict[str, Any]]:
    return [line for line in Ledger(folder / "ledger.jsonl") if key in line]


def test_every_clean_row_is_inspected_before_anything_is_attacked(any_study: Make, tmp_path: Path) -> None:
    study = any_study(defenses=[{"name": "undefended"}, {"name": "jpeg"}])
    Mortal.deadline = 0
    with pytest.raises(KeyboardInterrupt):
        run_study(study, tmp_path / "run")
    made = plan(study)
    looks = _lines(tmp_path / "run", "inspected")
    assert [line["inspected"] for line in looks] == [row.id for row in made.rows if row.knowledge == "clean"]
    assert {line["n"] for line in looks} == {min(SAMPLED, len(made.task.ids))}
    assert not any(line["unsteady"] or line["softmax"] for line in looks)


def test_an_undeclared_randomness_is_seen(any_study: Make, ran: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that sees other colors each time, though nothing says so."""
    study, calls = any_study(knowledge=["clean"]), itertools.count()
    kind = type(opened(study, None))
    real = kind.answer

    def moody(self: Any, batch: Any, given: Any, *more: Any) -> Any:
        turned = given._replace(images=given.images.roll(next(calls), 1))
        return real(self, batch, turned, *more)

    monkeypatch.setattr(kind, "answer", moody)
    folder, audit = ran(study)
    assert [line["unsteady"] for line in _lines(folder, "inspected")] == [True]
    assert _checks(audit.cells[0])["deterministic as it says"] == "fail"


def test_thresholds_of_a_detector_are_noted_with_its_clean_row(captioning: Make, ran: Run) -> None:
    folder, _ = ran(captioning(defenses=[{"name": "undefended"}, MIRROR]))
    bare, held = _lines(folder, "inspected")
    assert "thresholds" not in bare and set(held["thresholds"]) == {"0.05", "0.1"}


def test_every_adaptive_attack_is_tried_with_nothing_to_hold_it_back(any_study: Make, ran: Run) -> None:
    study = any_study()
    folder, audit = ran(study)
    made, tried = plan(study), _lines(folder, "probe")
    assert {line["probe"] for line in tried} == {twin.id for twin in made.sanity.values()} != set()
    for line in tried:
        assert line["n"] == len(line["samples"]) == min(SAMPLED, len(made.task.ids))
        assert line["success"] == sum(line["samples"].values()) / line["n"] > 0.5
    twin = next(iter(made.sanity.values()))
    again = {"probe": twin.id, **run.tried(made, twin, twin.victims[0])}
    assert again == next(each for each in tried if each["probe"] == twin.id)
    checked = {c.attack for c in audit.cells if "succeeds without a bound" in _checks(c)}
    assert checked == {twin.settings["name"] for twin in made.sanity.values()}


def test_an_adaptive_attack_is_tried_at_easier_aims_on_a_few_samples(pictures: Path, ran: Run) -> None:
    """Nobody is oblivious, and nobody tries the margin: both are tried, and what they give is checked."""
    study = tiny.study(pictures, knowledge=["clean", "adaptive"])
    folder, audit = ran(study)
    made = plan(study)
    names = {name for aims in made.aims.values() for name in aims}
    assert names == {"margin", "bare replay"}
    lines = _lines(folder, "other_objective")
    assert {line["other_objective"] for line in lines} == {
        aim.id for aims in made.aims.values() for aim in aims.values()
    }
    found = {check for cell in audit.cells for check in _checks(cell) if check.startswith("another aim")}
    assert found == {f"another aim does no better: {name}" for name in names}


def test_an_aim_that_a_row_has_is_not_tried_again(pictures: Path) -> None:
    swept = tiny.study(
        pictures,
        knowledge=["clean", "oblivious", "adaptive"],
        attack={"name": "pgd", "steps": 2, "objective": ["cosine", "margin"]},
    )
    assert all(aims == {} for aims in plan(swept).aims.values())


def test_a_row_costs_the_same_whatever_was_asked_before(captioning: Make) -> None:
    """MirrorCheck keeps what it has painted, which would make a second row look cheaper than a resumed one."""
    made = plan(captioning(defenses=[{**MIRROR, "false_rejection": 0.0}], knowledge=["clean"]))
    (row,) = made.rows
    batch = made.task.batch(range(4), row.guarded)
    first, again = (run.answered(made, row, batch, batch.pairs)[1] for _ in range(2))
    assert first["forwards"] == again["forwards"] > 4


def test_on_the_embedded_world_batches_agree_but_for_float_noise(tmp_path: Path) -> None:
    if "clip" not in listed("scenes"):
        pytest.skip("the embedded world has no weights of scenes:clip")
    found = {}
    for batch in (4, 12):
        study = parse(
            {
                "name": "small",
                "batch": batch,
                "task": {"samples": 12},
                "models": ["scenes:clip"],
                "attack": {"name": "illusion", "steps": 5},
                "knowledge": ["oblivious"],
                "defenses": [{"name": "undefended"}, {"name": "jpeg"}, {"name": "noise", "sigma": 0.05, "samples": 3}],
            },
            "the test",
        )
        run_study(study, tmp_path / str(batch))
        found[batch] = _columns(tmp_path / str(batch))
    assert found[4].keys() == found[12].keys() and len(found[4]) == 3 * 2 * 12
    agree = [found[4][key]["outcome"] == found[12][key]["outcome"] for key in found[4]]
    assert sum(agree) >= len(agree) - 1
    for key, record in found[4].items():
        assert record["cosine_target"] == pytest.approx(found[12][key]["cosine_target"], abs=0.02)
        assert record["target"] == found[12][key]["target"]
