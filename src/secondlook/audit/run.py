"""Running a plan: chunk by chunk, cell by cell, so that any kill loses one chunk at most."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from sys import intern
from typing import Protocol, TypeVar

import torch
from torch import Tensor

from secondlook import registry
from secondlook.audit.craft import crafted
from secondlook.audit.decide import bare_features, decide
from secondlook.audit.matrix import CellPlan, Plan
from secondlook.audit.probes import inspect, unbounded
from secondlook.audit.store import Record, Run
from secondlook.audit.study import Study
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.progress import Tick
from secondlook.tasks.zeroshot import Batch


@dataclass(frozen=True)
class Shard:
    """Part ``index`` (from 1) of ``count``: every count-th chunk of the samples.

    Raises:
        InvalidInput: an index outside 1 to ``count``.
    """

    index: int = 1
    count: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.index <= self.count:
            raise InvalidInput(f"shard {self.index}/{self.count}; write 1/4 to 4/4 for four parts")

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Reads ``2/4``.

        Raises:
            InvalidInput: it is not of that form.
        """
        index, _, count = text.partition("/")
        if not (index.isdigit() and count.isdigit()):
            raise InvalidInput(f"shard {text!r}; write i/n, as in 2/4")
        return cls(int(index), int(count))

    def holds(self, chunk: int) -> bool:
        """Whether a chunk belongs to this part."""
        return chunk % self.count == self.index - 1


def identity(study: Study, command: str) -> Record:
    """What a run directory has to agree with to be continued."""
    config = study.model_dump()
    return {
        "schema": 1, "command": command, "version": version("secondlook"), "study": config,
        "config_hash": registry.digest(config), "seed": study.seed,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }  # fmt: skip


@dataclass(frozen=True)
class Chunk:
    """A fixed part of the samples, attacked and decided on together."""

    number: int
    rows: tuple[int, ...]


def chunks(rows: Sequence[int], size: int, shard: Shard) -> list[Chunk]:
    """The chunks of a shard; they are the same however often a run is killed."""
    starts = range(0, len(rows), size)
    every = [
        Chunk(number, tuple(rows[start : start + size])) for number, start in enumerate(starts)
    ]
    return [chunk for chunk in every if shard.holds(chunk.number)]


class _Desk:
    """One chunk of one model on the table: read once, looked at bare once."""

    def __init__(self, plan: Plan, cell: CellPlan, chunk: Chunk) -> None:
        self.plan, self.cell, self.chunk = plan, cell, chunk

    @cached_property
    def batch(self) -> Batch:
        return self.plan.task.batch(self.chunk.rows, self.cell.defence.model)

    @cached_property
    def bare(self) -> Tensor:
        return bare_features(self.cell, self.batch)


def execute(plan: Plan, folder: Path, shard: Shard, tick: Tick, command: str = "") -> Run:
    """Does what of a plan is not done yet.

    Raises:
        BrokenRun: the directory belongs to something else, or cannot be written to.
    """
    run = Run.open(folder, identity(plan.study, command))
    inspect_all(run, plan.cells, lambda cell: inspect(plan, cell), tick)
    parts = chunks(plan.task.rows, plan.study.batch, shard)
    desks: dict[int, _Desk] = {}

    def do(cell: CellPlan, chunk: Chunk, missing: set[str]) -> None:
        desk = desks.get(id(cell.defence.model))
        if desk is None or desk.chunk is not chunk:
            desk = desks[id(cell.defence.model)] = _Desk(plan, cell, chunk)
        _do(plan, run, cell, desk, missing)

    go_through(run, plan.cells, parts, plan.task.source.ids, do, tick)
    probe_all(run, plan.probes, lambda probe: unbounded(plan, probe), tick)
    tick(1, 1, "done")
    return run


class Line(Protocol):
    """A row of a matrix to be."""

    @property
    def id(self) -> str: ...
    @property
    def label(self) -> str: ...
    @property
    def knowledge(self) -> str: ...


L = TypeVar("L", bound=Line)


def go_through(
    run: Run, cells: Sequence[L], parts: Sequence[Chunk], ids: Sequence[str],
    do: Callable[[L, Chunk, set[str]], None], tick: Tick,
) -> None:  # fmt: skip
    """Does each cell of each chunk of which the run has not every record.

    Args:
        run: what is there.
        cells: the rows of the matrix.
        parts: the chunks, one after the other.
        ids: the samples' names, by the rows that chunks hold.
        do: computes a cell of a whole chunk and appends the records of the samples that are named.
        tick: told what is done.
    """
    done = {(intern(record["cell"]), intern(record["sample"])) for record in run.records}
    total = len(parts) * len(cells)
    for position, chunk in enumerate(parts):
        for number, cell in enumerate(cells):
            at, what = position * len(cells) + number, f"{cell.label}, {cell.knowledge}"
            tick(at, total, what)
            missing = {ids[row] for row in chunk.rows if (cell.id, ids[row]) not in done}
            if missing:
                with counting(teller(tick, at, total, what)):
                    do(cell, chunk, missing)


def inspect_all(run: Run, cells: Sequence[L], look: Callable[[L], Record], tick: Tick) -> None:
    """Looks at each clean row that the run has not looked at yet.

    A broken model is told before hours are spent on it.
    """
    known = {line.get("inspected") for line in run.ledger}
    for cell in cells:
        if cell.knowledge == "clean" and cell.id not in known:
            tick(0, 1, f"looking at {cell.label}")
            run.ledger.append([look(cell)])


class Probe(Protocol):
    """An attack with nothing to hold it back."""

    @property
    def id(self) -> str: ...


P = TypeVar("P", bound=Probe)


def probe_all(run: Run, probes: Mapping[str, P], look: Callable[[P], Record], tick: Tick) -> None:
    """Looks at each of the probes that the run has not looked at yet, once."""
    what, probed = "attacking without a bound, as a check", {x.get("probe") for x in run.ledger}
    for probe in {probe.id: probe for probe in probes.values()}.values():
        if probe.id not in probed:
            tick(1, 1, what)
            with counting(teller(tick, 1, 1, what)):
                run.ledger.append([look(probe)])


def teller(tick: Tick, at: int, total: int, what: str) -> Callable[[int], None]:
    """Shows that a long crafting goes on: how many looks it has had."""
    return lambda forwards: tick(at, total, f"{what}, {forwards:,} looks")


def _do(plan: Plan, run: Run, cell: CellPlan, desk: _Desk, missing: set[str]) -> None:
    """Computes a whole chunk, so that it is what it would have been, and adds what is missing."""
    number = desk.chunk.number
    made = crafted(plan, run, cell.forge, desk.batch, number) if cell.forge else None
    decided = decide(cell, desk.batch, made, desk.bare, plan.study.rescore)
    about = {"cell": cell.id, "chunk": number, "decide": decided.cost}
    spent = {"attack": made.cost, **made.tells} if made else {"attack": {}}
    run.ledger.append([{**about, **spent}])
    run.records.append([r for r in decided.records if r["sample"] in missing])
