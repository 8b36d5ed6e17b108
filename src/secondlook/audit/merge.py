"""Putting the shards of one study together: refused unless each of them is there, and whole."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Final, NamedTuple

from secondlook.audit.generate import FOREIGN, is_made
from secondlook.audit.integrity import Done
from secondlook.audit.plan import Chunk, Plan, Shard, partition
from secondlook.audit.store import Record, Run, digest_of, read_head, reading, refuse_links
from secondlook.drafts import write_atomic
from secondlook.errors import BrokenRun

_CHECKS: Final = ("probe", "other_objective", "diagnosed")
"""What a line of the ledger is called by that is of a check, and of no row."""


class Part(NamedTuple):
    """A run directory that holds a shard.

    Attributes:
        folder: where it lies.
        head: its ``run.json``.
        shard: which part of how many it is.
    """

    folder: Path
    head: Record
    shard: Shard

    def chunks(self, plan: Plan) -> list[Chunk]:
        """The chunks that belong to it."""
        every = partition(len(plan.task.rows), plan.study.batch, self.head["parts"])
        return [chunk for chunk in every if self.shard.count == 1 or chunk.shard == self.shard.index]


def shards(folders: Sequence[Path], out: Path) -> list[Part]:
    """The shards in some folders, in their order.

    Raises:
        BrokenRun: they are not all shards of one study, made by one version, each of them once.
    """
    for folder in folders:
        refuse_links(folder)
    parts = sorted((_part(folder) for folder in folders), key=lambda part: part.shard.index)
    if not parts:
        raise BrokenRun("there is nothing to merge; name the run directories of all shards")
    first, own = parts[0], version("secondlook")
    for part in parts:
        if part.head["version"] != own:
            raise BrokenRun(
                f"{part.folder} was written with version {part.head['version']}, this is {own}; merge with that version"
            )
        if any(part.head.get(key) != first.head.get(key) for key in ("config_hash", "version")):
            raise BrokenRun(f"{part.folder} and {first.folder} are of different studies or versions")
        if part.folder.resolve() == out.resolve():
            raise BrokenRun(f"--out {out} is one of the parts; merge into a folder of its own")
        if part.shard.count != first.shard.count:
            raise BrokenRun(
                f"{part.folder} is shard {part.shard} and {first.folder} is shard {first.shard}; "
                "merge the shards of one division"
            )
    _check_each_once(parts)
    return parts


def _part(folder: Path) -> Part:
    head = read_head(folder)
    if "study" not in head:
        raise BrokenRun(f"{folder / 'run.json'} says no study; run the shard again into another folder")
    return Part(folder, head, Shard.parse(head["shard"]))


def _check_each_once(parts: Sequence[Part]) -> None:
    found: dict[int, Part] = {}
    for part in parts:
        twin = found.setdefault(part.shard.index, part)
        if twin is not part:
            raise BrokenRun(f"{twin.folder} and {part.folder} are both shard {part.shard}; name each shard once")
    count = parts[0].shard.count
    if missing := [f"{index}/{count}" for index in range(1, count + 1) if index not in found]:
        raise BrokenRun(
            f"shard {', '.join(missing)} is missing; run the study with --shard {missing[0]}, and name its folder, too"
        )


def merged(plan: Plan, parts: Sequence[Part], out: Path, command: str) -> Run:
    """Puts all shards of a study into one run directory; done again, it writes the same.

    Raises:
        BrokenRun: a shard is half-done or damaged, or ``out`` holds something else. Nothing is
            written before all shards have been looked at.
    """
    done = [_checked(plan, part) for part in parts]
    head = {key: value for key, value in parts[0].head.items() if key != "command"}
    head |= {"command": command, "shard": str(Shard())}
    run = Run.open(out, head)
    if run.parts != head["parts"]:
        raise BrokenRun(f"{out} holds the same study in {run.parts} part(s), not {head['parts']}; choose another --out")
    for part, its in zip(parts, done, strict=True):
        for source, target in _files(plan, part, its.run, run):
            if digest_of(target) != digest_of(source):
                with reading(source):
                    content = source.read_bytes()
                write_atomic(target, content)
    run.records.replace(_records(plan, parts, done))
    run.ledger.replace(_lines(plan, done))
    return run


def _checked(plan: Plan, part: Part) -> Done:
    """What a shard holds, which is all that it should."""
    run = Run(part.folder, part.head["parts"])
    done = Done(plan, run)
    again = f"run it with --shard {part.shard} to its end on the same models and data, and merge again"
    for chunk in part.chunks(plan):
        for spec in plan.specs:
            source = run.adversarial(spec.id, chunk.number)
            if not is_made(run, spec, [plan.task.ids[each] for each in chunk.at], chunk.number):
                what = f"is {FOREIGN}" if source.exists() else "is missing"
                raise BrokenRun(f"shard {part.shard} in {part.folder} is half-done: {source} {what}; {again}")
        for row in () if plan.task.collective else plan.rows:
            if not done.has(row, chunk.number):
                raise BrokenRun(
                    f"shard {part.shard} in {part.folder} is half-done: of {row.label}, {row.knowledge}, it has not "
                    f"every record of samples {chunk.at[0] + 1} to {chunk.at[-1] + 1}; {again}"
                )
    return done


def _files(plan: Plan, part: Part, source: Run, target: Run) -> Iterator[tuple[Path, Path]]:
    """From where to where the adversarials of a shard go."""
    for chunk in part.chunks(plan):
        for spec in plan.specs:
            yield source.adversarial(spec.id, chunk.number), target.adversarial(spec.id, chunk.number)


def _records(plan: Plan, parts: Sequence[Part], done: Sequence[Done]) -> Iterator[Record]:
    """Of each shard the records of its own samples, each once; where it has two of one, the later."""
    if plan.task.collective:
        return
    rows = {row.id for row in plan.rows}
    for part, its in zip(parts, done, strict=True):
        own = {plan.task.ids[each] for chunk in part.chunks(plan) for each in chunk.at}
        found = {(each["cell"], each["sample"]): each for each in its.run.records if each["cell"] in rows}
        yield from (record for (_, sample), record in found.items() if sample in own)


def _lines(plan: Plan, done: Sequence[Done]) -> Iterator[Record]:
    """The lines of all ledgers, each once."""
    rows = {row.id for row in plan.rows}
    found: dict[tuple[object, ...], Record] = {}
    for line in (line for its in done for line in its.run.ledger):
        if plan.task.collective and "cell" in line:
            continue
        if line.get("cell", line.get("inspected")) in rows or line.keys() & set(_CHECKS):
            found[tuple(line.get(key) for key in ("cell", "chunk", "inspected", *_CHECKS))] = line
    yield from found.values()
