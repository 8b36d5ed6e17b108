"""Running a plan: crafted chunk by chunk, and searched once all that is searched is there."""

from __future__ import annotations

from pathlib import Path

from secondlook.audit.retrieval.craft import store
from secondlook.audit.retrieval.judge import Judge
from secondlook.audit.retrieval.matrix import PairForge, SearchPlan
from secondlook.audit.retrieval.probes import unbounded
from secondlook.audit.retrieval.sets import is_whole
from secondlook.audit.run import Chunk, Shard, chunks, identity, probe_all, teller
from secondlook.audit.store import Run
from secondlook.errors import BrokenRun
from secondlook.ledger import counting
from secondlook.progress import Tick
from secondlook.tasks.retrieval import PairBatch


def execute(plan: SearchPlan, folder: Path, shard: Shard, tick: Tick, command: str = "") -> Run:
    """Does what of a plan is not done yet; a shard crafts, and leaves the searches to the whole.

    Raises:
        BrokenRun: the directory belongs to something else, or cannot be written to.
    """
    run = Run.open(folder, identity(plan.study, command))
    parts = chunks(range(len(plan.task.rows)), plan.study.batch, shard)
    _craft(plan, run, parts, tick)
    if shard.count > 1:
        tick(1, 1, "crafted; merge the shards to search")
        return run
    return judge(plan, run, tick)


def judge(plan: SearchPlan, run: Run, tick: Tick) -> Run:
    """Searches with what was crafted, and writes the records that are missing.

    Raises:
        BrokenRun: a part of what has to be searched was not crafted.
    """
    done = {(record["cell"], record["sample"]) for record in run.records}
    left = [
        cell for cell in plan.cells
        if any((cell.id, name) not in done for name in plan.task.ids)
    ]  # fmt: skip
    _check_crafted(plan, run)
    judge = Judge(plan, run, left)
    judge.look(tick)
    for number, cell in enumerate(left):
        tick(number, len(left), f"searching: {cell.label}, {cell.knowledge}")
        rows, spent = judge.search(cell)
        run.ledger.append([spent])
        run.records.append([row for row in rows if (cell.id, row["sample"]) not in done])
    probe_all(run, plan.probes, lambda probe: unbounded(plan, probe), tick)
    tick(1, 1, "done")
    return run


def _craft(plan: SearchPlan, run: Run, parts: list[Chunk], tick: Tick) -> None:
    forges = plan.forges
    total = len(parts) * len(forges)
    for position, chunk in enumerate(parts):
        batches: dict[tuple[int, int] | None, PairBatch] = {}
        for number, forge in enumerate(forges):
            at, what = position * len(forges) + number, _told(forge)
            tick(at, total, what)
            if is_whole(run.adversarial(forge.id, chunk.number)):
                continue
            if forge.size not in batches:
                batches[forge.size] = plan.task.batch(chunk.rows, forge.size)
            with counting(teller(tick, at, total, what)):
                store(plan, run, forge, batches[forge.size], chunk.number)


def _told(forge: PairForge) -> str:
    return f"crafting {forge.settings['name']} on {', '.join(v.name for v in forge.victims)}"


def _check_crafted(plan: SearchPlan, run: Run) -> None:
    """A search goes through everything: a part that is missing would make it look easier."""
    for chunk in chunks(range(len(plan.task.rows)), plan.study.batch, Shard()):
        for forge in plan.forges:
            path = run.adversarial(forge.id, chunk.number)
            if not is_whole(path):
                raise BrokenRun(
                    f"{path} is missing, and a search needs all of it; run the shard that "
                    f"crafts part {chunk.number + 1} to its end, and merge again"
                )
