"""Scoring all samples together: guarded models answer all of them, and then rows are scored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from secondlook.attacks.pairs import Pairs
from secondlook.audit.adversarial import Adversarial, AdversarialSet, is_whole
from secondlook.audit.estimate import ANSWERS
from secondlook.audit.generate import stored, with_attack
from secondlook.audit.integrity import Done
from secondlook.audit.overhead import timed_beside_bare
from secondlook.audit.pace import Pace
from secondlook.audit.plan import AttackSpec, Chunk, Plan, Row
from secondlook.audit.store import Record, Run
from secondlook.errors import BrokenRun
from secondlook.ledger import counting
from secondlook.tasks.base import Answered, Batch

_Place = tuple[int, str]
_COSTS = ("forwards", "backwards", "seconds", "bare_seconds")


def score_all(plan: Plan, run: Run, parts: Sequence[Chunk], pace: Pace) -> None:
    """Scores what was generated, and writes the records that are missing.

    Raises:
        BrokenRun: a part of what has to be scored was not generated.
    """
    _check_generated(plan, run, parts)
    done = Done(plan, run)
    left = [row for row in plan.rows if not done.has(row)]
    scoring = _Scoring(plan, run, left)
    for chunk in parts if left else []:
        with pace.doing(ANSWERS, f"samples {chunk.at[0] + 1}-{chunk.at[-1] + 1} of {len(plan.task.rows)} are answered"):
            scoring.answer(chunk)
    for row in left:
        with pace.doing(row.id, f"scoring: {row.label}, {row.knowledge}"):
            rows, about = scoring.score(row)
            done.add(row, 0, about, [{"cell": row.id, **found} for found in rows])


class _Scoring:
    """What guarded models answer to all samples, clean and attacked.

    Args:
        plan: with everything generated.
        run: where it lies.
        rows: those that are left to score.
    """

    def __init__(self, plan: Plan, run: Run, rows: Sequence[Row]) -> None:
        self.plan, self.run, self.rows = plan, run, rows
        self._answers: dict[_Place, list[Any]] = defaultdict(list)
        self._costs: dict[_Place, Record] = {}
        self._made: dict[str, list[tuple[Pairs, Adversarial]]] = defaultdict(list)

    def answer(self, chunk: Chunk) -> None:
        """Asks every guarded model about a chunk, clean and as each of its attacks has left it."""
        batches: dict[Any, Batch] = {}
        asked: set[_Place] = set()
        for row in self.rows:
            key = self.plan.task.batch_key(row.guarded)
            if key not in batches:
                batches[key] = self.plan.task.batch(chunk.at, row.guarded)
            batch = batches[key]
            for spec in (None, row.spec) if row.spec else (None,):
                place = (id(row.guarded), spec.id if spec else "")
                if place not in asked:
                    asked.add(place)
                    given = self._attacked(spec, batch, chunk) if spec else batch.pairs
                    self._ask(row, place, batch, given)

    def _attacked(self, spec: AttackSpec, batch: Batch, chunk: Chunk) -> Pairs:
        made = stored(self.run, spec, batch, chunk.number).adversarial
        known = self._made[spec.id]
        if len(known) <= chunk.number:
            # Images are not held, for what is searched may be larger than memory.
            empty = batch.pairs.images[:0]
            known.append((Pairs(empty, batch.pairs.captions), made._replace(images=empty)))
        return Pairs(made.images, made.captions)

    def _ask(self, row: Row, place: _Place, batch: Batch, pairs: Pairs) -> None:
        task, guarded = self.plan.task, row.guarded
        guarded.forget()
        with counting() as ledger:
            found = task.answer(batch, pairs, guarded, batch.keys.fold("decide", 0))
        own, bare = ledger.seconds, ledger.seconds
        if not guarded.bare:
            own, bare = timed_beside_bare(task, guarded, batch, pairs, own)
        self._answers[place].append(found)
        spent = self._costs.setdefault(place, dict.fromkeys(_COSTS, 0))
        spent["forwards"] += ledger.forwards
        spent["backwards"] += ledger.backwards
        spent["seconds"] += own
        spent["bare_seconds"] += bare
        spent["peak_memory"] = ledger.peak_memory

    def score(self, row: Row) -> tuple[list[Record], Record]:
        """The records of a row, and what it cost."""
        name = row.spec.id if row.spec else ""
        attacked = self._stored(row) if row.spec else None
        before = Answered(self._answers[id(row.guarded), ""], None)
        after = Answered(self._answers[id(row.guarded), name], attacked)
        rows, more = self.plan.task.collected(row.guarded, before, after, row.variant, self.plan.study.examples)
        about: Record = {"cell": row.id, "chunk": 0, "attack": {}, **more}
        about["decide"] = _rounded(self._costs[id(row.guarded), name])
        if attacked is None:
            return rows, about
        start, found = 0, list[Record]()
        for clean, made in self._made[name]:
            end = start + len(clean.captions)
            found += with_attack(rows[start:end], row, clean, made)
            start = end
        return found, {**about, "attack": attacked.cost, "notices": attacked.notices}

    def _stored(self, row: Row) -> AdversarialSet:
        assert row.spec is not None
        return AdversarialSet(self.run.adversarial(row.spec.id, 0).parent)


def _rounded(cost: Record) -> Record:
    return {k: round(v, 5) if isinstance(v, float) else v for k, v in cost.items()}


def _check_generated(plan: Plan, run: Run, parts: Sequence[Chunk]) -> None:
    """What is scored goes through everything: a part that is missing would make it look easier."""
    for chunk in parts:
        for spec in plan.specs:
            path = run.adversarial(spec.id, chunk.number)
            if not is_whole(path):
                what = "is damaged" if path.exists() else "is missing"
                raise BrokenRun(
                    f"{path} {what}, and the whole is scored together; run shard {chunk.shard}/{run.parts} "
                    "of the same study to its end, and merge again"
                )
