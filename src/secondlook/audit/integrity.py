"""What of a run is done: every record there, as it was written, and its cost beside it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from sys import intern

from secondlook import registry
from secondlook.audit.plan import Chunk, Plan, Row, partition
from secondlook.audit.store import Record, Run, checksum, digest_of

_Place = tuple[str, int]
_Sums = tuple[int, ...]


class Done:
    """What a run holds of a plan's rows, chunk by chunk; a collective task has one chunk of all samples.

    The ledger has a line for each chunk of a row: what it cost, a checksum of each of its records,
    and which adversarials were answered. A chunk is done where all of that is there and agrees.

    Args:
        plan: what is to be done.
        run: where it is done.

    Raises:
        BrokenRun: a record is not what was written, or of a sample that the study has not.
    """

    def __init__(self, plan: Plan, run: Run) -> None:
        self.plan, self.run = plan, run
        self.parts = partition(len(plan.task.ids), plan.study.batch, run.parts)
        layout = [Chunk(0, tuple(range(len(plan.task.ids))))] if plan.task.collective else self.parts
        self._ids = {chunk.number: tuple(plan.task.ids[each] for each in chunk.at) for chunk in layout}
        self._sums: dict[tuple[str, str], int] = {}
        self._lines: dict[_Place, list[_Sums]] = defaultdict(list)
        self._answered: dict[_Place, str | None] = {}
        self._files: dict[_Place, str | None] = {}
        self._read_ledger()
        self._read_records()

    def has(self, row: Row, chunk: int = 0) -> bool:
        """Whether a chunk of a row is done; a file that is lost or another one makes it undone."""
        place = (row.id, chunk)
        if place not in self._lines or self._answered[place] != self.made(row, chunk):
            return False
        known = zip(self._ids[chunk], self._lines[place][-1], strict=True)
        return all(self._sums.get((row.id, name)) == one for name, one in known)

    def made(self, row: Row, chunk: int = 0) -> str | None:
        """The digest of the stored adversarials of a chunk; None for clean rows, and where one is lost."""
        if row.spec is None:
            return None
        numbers = [part.number for part in self.parts] if self.plan.task.collective else [chunk]
        found = [self._file(row.spec.id, number) for number in numbers]
        if None in found:
            return None
        return registry.digest(found) if self.plan.task.collective else found[0]

    def add(self, row: Row, chunk: int, about: Record, records: Sequence[Record]) -> None:
        """Writes what a chunk cost, and those of its records that the run has not, in this order.

        Args:
            row: of the plan.
            chunk: its number.
            about: the line of the ledger.
            records: all of the chunk, in the order of its samples.
        """
        sums = [checksum(json.loads(json.dumps(record))) for record in records]
        if row.spec is not None:
            for part in self.parts:
                self._files.pop((row.spec.id, part.number), None)
        fresh = [
            record
            for record, one in zip(records, sums, strict=True)
            if self._sums.get((row.id, record["sample"])) != one
        ]
        self.run.ledger.append([{**about, "sums": sums, "made": self.made(row, chunk)}])
        self.run.records.append(fresh)

    def _file(self, spec: str, number: int) -> str | None:
        if (spec, number) not in self._files:
            self._files[spec, number] = digest_of(self.run.adversarial(spec, number))
        return self._files[spec, number]

    def _read_ledger(self) -> None:
        """The last line of a chunk counts; records may be those of an earlier one, until they are all written."""
        rows = {row.id for row in self.plan.rows}
        for number, line in self.run.ledger.numbered():
            # A model that was changed since has rows of another name; theirs are left alone.
            if line.get("cell") in rows:
                place = (intern(line["cell"]), line["chunk"])
                if len(line["sums"]) != len(self._ids.get(place[1], ())):
                    raise self.run.ledger.broken(number, "is of other samples than this study has")
                self._lines[place].append(tuple(line["sums"]))
                self._answered[place] = line["made"]

    def _read_records(self) -> None:
        places = {name: (number, at) for number, ids in self._ids.items() for at, name in enumerate(ids)}
        rows = {row.id for row in self.plan.rows}
        for number, record in self.run.records.numbered():
            cell, name = intern(record["cell"]), intern(record["sample"])
            if cell in rows:
                if name not in places:
                    raise self.run.records.broken(number, f"is of {name!r}, a sample that this study has not")
                chunk, at = places[name]
                one = checksum(record)
                lines = self._lines.get((cell, chunk), ())
                if lines and all(sums[at] != one for sums in lines):
                    raise self.run.records.broken(number, f"is not what was written there of {name!r}")
                self._sums[cell, name] = one
