"""Running a plan chunk by chunk: craft or fetch, ask, and write down what was answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from secondlook.attacks.base import Trace
from secondlook.attacks.edits import words_changed
from secondlook.attacks.pairs import AlteredPairs, PairAttack, Pairs
from secondlook.audit.records import plain
from secondlook.audit.run import (
    Chunk,
    Shard,
    chunks,
    go_through,
    identity,
    inspect_all,
    probe_all,
)
from secondlook.audit.single.craft import crafted
from secondlook.audit.single.lens import Lens
from secondlook.audit.single.matrix import Plan, Row
from secondlook.audit.single.probes import inspect, unbounded
from secondlook.audit.store import Record, Run
from secondlook.defenses.undefended import Undefended
from secondlook.ledger import counting
from secondlook.progress import Tick
from secondlook.randomness import Keys


def execute(plan: Plan, folder: Path, shard: Shard, tick: Tick, command: str = "") -> Run:
    """Does what of a plan is not done yet.

    Raises:
        BrokenRun: the directory belongs to something else, or cannot be written to.
    """
    run = Run.open(folder, identity(plan.study, command))
    inspect_all(run, plan.cells, lambda cell: inspect(plan, cell), tick)
    task = plan.subject.task
    parts = chunks(range(len(task.rows)), plan.study.batch, shard)
    desk = _Desk(plan, run)
    go_through(run, plan.cells, parts, task.ids, desk.do, tick)
    probe_all(run, plan.probes, lambda probe: unbounded(plan, probe), tick)
    tick(1, 1, "done")
    return run


class _Desk:
    """The chunk that is on the table, read once for each resolution."""

    def __init__(self, plan: Plan, run: Run) -> None:
        self.plan, self.run = plan, run
        self._chunk: Chunk | None = None
        self._batches: dict[tuple[int, int] | None, Any] = {}

    def do(self, cell: Row, chunk: Chunk, missing: set[str]) -> None:
        """Computes a whole chunk, so that it is what it would have been; adds what is missing."""
        self.plan.subject.looked_at(cell.lens)  # Calibrates outside of what is counted.
        batch = self._batch(chunk, cell.lens.size)
        part = crafted(self.plan, self.run, cell.forge, batch, chunk.number) if cell.forge else None
        given = Pairs(part.pairs.images, part.pairs.captions) if part else batch.pairs
        rows, cost = asked(self.plan, cell, batch, given)
        about = {"cell": cell.id, "chunk": chunk.number, "decide": cost, "attack": {}}
        if part is not None:
            about |= {"attack": part.about["cost"], "notices": list(part.pairs.notices)}
            rows = _crafted_so(rows, cell, batch.pairs, part.pairs)
        named = [
            {"cell": cell.id, "sample": name, **row}
            for name, row in zip(batch.ids, rows, strict=True)
        ]
        self.run.ledger.append([about])
        self.run.records.append([row for row in named if row["sample"] in missing])

    def _batch(self, chunk: Chunk, size: tuple[int, int] | None) -> Any:
        if self._chunk is not chunk:
            self._chunk, self._batches = chunk, {}
        if size not in self._batches:
            self._batches[size] = self.plan.subject.batch(chunk.rows, size)
        return self._batches[size]


def asked(plan: Plan, cell: Row, batch: Any, given: Pairs) -> tuple[list[Record], Record]:
    """What a row's model answers, again and again if it is randomised, and what it cost once."""
    subject, lens = plan.subject, cell.lens
    random = lens.defence.stochastic or subject.stochastic
    repeats = plan.study.rescore if random else 1
    looks = []
    for repeat in range(repeats):
        with counting() as ledger:
            keys = batch.keys.fold("decide", repeat)
            looks.append(subject.ask(batch, given, lens, keys, cell.aim))
        if repeat == 0:
            cost = ledger.spent(digits=5)
    bare = cost["seconds"] if lens.bare else _bare_seconds(plan, cell, batch, given)
    return merged(looks), {**cost, "bare_seconds": round(bare, 5)}


def _bare_seconds(plan: Plan, cell: Row, batch: Any, given: Pairs) -> float:
    """Seconds of the model alone on the same images."""
    alone = Lens(cell.lens.model, Undefended(model=cell.lens.defence.model))
    keys: Keys = batch.keys.fold("decide", 0)
    with counting() as ledger:
        plan.subject.ask(batch, given, alone, keys, cell.aim)
    return ledger.seconds


def merged(looks: Sequence[Sequence[Mapping[str, Any]]]) -> list[Record]:
    """One record a sample of several fresh answers: numbers as their means, the rest of the first.

    Beside the mean of ``reached`` stands the worst of them. A suspicion is that of the first: a
    threshold is for one look, and a mean of several would be another detector's.

    Example:
        >>> looks = [[{"text": "a", "reached": 1.0}], [{"text": "b", "reached": 0.0}]]
        >>> merged(looks)
        [{'text': 'a', 'reached': 0.5, 'reached_worst': 1.0}]
    """
    found = []
    for answers in zip(*looks, strict=True):
        row = {
            key: sum(answer[key] for answer in answers) / len(answers)
            if isinstance(value, float) and key != "suspicion" else value
            for key, value in answers[0].items()
        }  # fmt: skip
        found.append({**row, "reached_worst": max(answer["reached"] for answer in answers)})
    return found


def _crafted_so(rows: list[Record], cell: Row, before: Pairs, after: AlteredPairs) -> list[Record]:
    """The rows with what the attack saw on its way, and the words that it changed."""
    if after.trace is not None:
        columns = {f.name: plain(getattr(after.trace, f.name)) for f in fields(Trace)}
        rows = [
            {**row, **{name: values[at] for name, values in columns.items()}}
            for at, row in enumerate(rows)
        ]
    if cell.forge is None or not isinstance(cell.forge.attack, PairAttack):
        return rows
    return [
        {**row, "words": [words_changed(*pair) for pair in zip(old, new, strict=True)]}
        for row, old, new in zip(rows, before.captions, after.captions, strict=True)
    ]
