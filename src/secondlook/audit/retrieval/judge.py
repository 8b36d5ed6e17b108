"""Judging: every model looks once at all that is searched, and then each row is searched."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from secondlook.attacks.base import Trace
from secondlook.attacks.pairs import Captions
from secondlook.audit.retrieval.craft import check
from secondlook.audit.retrieval.matching import matching
from secondlook.audit.retrieval.matrix import PairForge, SearchCell, SearchPlan
from secondlook.audit.retrieval.reading import notices
from secondlook.audit.retrieval.records import records, traced, worded
from secondlook.audit.retrieval.search import (
    Matching,
    Reader,
    Side,
    flat,
    leaders,
    search,
    sides_of,
)
from secondlook.audit.retrieval.seen import Seen
from secondlook.audit.retrieval.sets import AlteredSet, load_part
from secondlook.audit.run import Chunk, Shard, chunks
from secondlook.audit.store import Record, Run
from secondlook.errors import BrokenRun
from secondlook.ledger import counting
from secondlook.progress import Tick
from secondlook.randomness import Keys

_Place = tuple[int, str]


class Judge:
    """Looks and searches for some rows of a plan.

    Args:
        plan: with everything crafted.
        run: where it lies.
        cells: the rows.
    """

    def __init__(self, plan: SearchPlan, run: Run, cells: Sequence[SearchCell]) -> None:
        self.plan, self.run, self.cells = plan, run, cells
        self.sights = list({id(cell.seen): cell.seen for cell in cells}.values())
        self.forges = {cell.forge.id: cell.forge for cell in cells if cell.forge}
        self._wanted = {(id(cell.seen), cell.forge.id) for cell in cells if cell.forge}
        self._images: dict[_Place, list[Tensor]] = defaultdict(list)
        self._costs: dict[_Place, Record] = {}
        self._captions: dict[str, Captions] = defaultdict(tuple)
        self._traces: dict[str, list[Trace | None]] = defaultdict(list)
        self._readers: dict[int, Reader] = {}

    def look(self, tick: Tick) -> None:
        """Shows every model all images, clean and altered, a chunk at a time."""
        task = self.plan.task
        parts = chunks(range(len(task.rows)), self.plan.study.batch, Shard())
        for number, chunk in enumerate(parts if self.cells else []):
            tick(number, len(parts), "looking at all images")
            for size in {seen.size for seen in self.sights}:
                self._look_at(chunk, size)

    def _look_at(self, chunk: Chunk, size: tuple[int, int] | None) -> None:
        batch = self.plan.task.batch(chunk.rows, size)
        sights = [seen for seen in self.sights if seen.size == size]
        for seen in sights:
            self._note(seen, "", batch.pairs.images, batch.keys)
        for forge in self.forges.values():
            if forge.size != size:
                continue
            part = load_part(self.run.adversarial(forge.id, chunk.number))
            if part is None or part.ids != batch.ids:
                raise BrokenRun(f"part {chunk.number} of {forge.id} is damaged; delete it")
            check(part, batch, forge)
            self._captions[forge.id] += part.pairs.captions
            self._traces[forge.id].append(part.pairs.trace)
            for seen in sights:
                if (id(seen), forge.id) in self._wanted:
                    images = part.pairs.images.to(batch.pairs.images)
                    self._note(seen, forge.id, images, batch.keys)

    def _note(self, seen: Seen, forge: str, images: Tensor, keys: Keys) -> None:
        place = (id(seen), forge)
        with counting() as alone:
            if seen.looks > 1 or len(seen.defence.parts) > 1:
                with torch.no_grad():
                    seen.embedder.embed(images)
        with counting() as ledger:
            self._images[place].append(seen.look(images, keys.fold("decide", 0)))
        spent = self._costs.setdefault(
            place, dict.fromkeys(("forwards", "backwards", "seconds", "bare_seconds"), 0)
        )
        spent["forwards"] += ledger.forwards
        spent["backwards"] += ledger.backwards
        spent["seconds"] += ledger.seconds
        spent["bare_seconds"] += alone.seconds if alone.forwards else ledger.seconds
        spent["peak_memory"] = ledger.peak_memory

    def side(self, seen: Seen, forge: PairForge | None) -> Side:
        """All of it as one model sees it."""
        name = forge.id if forge else ""
        captions = self._captions[name] if forge else self.plan.task.captions
        reader = self._readers.setdefault(
            id(seen.embedder), Reader(seen.embedder, self.plan.task.device)
        )
        texts = reader(flat(captions), keep=forge is None)
        return Side(images=torch.cat(self._images[id(seen), name]), texts=texts)

    def search(self, cell: SearchCell) -> tuple[list[Record], Record]:
        """The records of a row, and what it cost."""
        task = self.plan.task
        clean = self.side(cell.seen, None)
        altered = self.side(cell.seen, cell.forge)
        query, gallery = ((clean, altered)[which] for which in sides_of(cell.setting))
        again = matching(self.plan, self.run, cell, self._captions)
        found = search(query, gallery, task.rights, task.owner, again)
        rows = records(cell.id, task.ids, found[0], found[-1])
        self._lead(rows, query, gallery, again)
        about: Record = {"cell": cell.id, "chunk": 0, "attack": {}}
        about["decide"] = _rounded(self._costs[id(cell.seen), cell.forge.id if cell.forge else ""])
        if cell.forge is None:
            about["notices"] = notices(cell.seen.embedder, task.texts, task.owner, clean.texts)
            return rows, about
        made = AlteredSet(self.run.adversarial(cell.forge.id, 0).parent)
        about |= {"attack": made.cost, "notices": made.notices}
        rows = traced(rows, self._traces[cell.forge.id])
        cosines = iter((clean.texts * altered.texts).sum(1).clamp(-1, 1).tolist())
        likeness = [[next(cosines) for _ in texts] for texts in task.captions]
        return worded(rows, task.captions, self._captions[cell.forge.id], likeness), about

    def _lead(self, rows: list[Record], query: Side, gallery: Side, again: Matching | None) -> None:
        """Notes in the first rows what the report shows: the first answers to their searches."""
        shown = min(self.plan.study.exhibits, len(rows))
        ends = [self.plan.task.own.texts[at][-1] + 1 for at in range(shown)]
        texts, images = leaders(query, gallery, shown, ends[-1] if ends else 0, again)
        for row, own, start, end in zip(rows, texts, [0, *ends], ends, strict=False):
            row |= {"first_texts": own, "first_images": images[start:end]}


def _rounded(cost: Record) -> Record:
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in cost.items()}
