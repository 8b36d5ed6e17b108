"""Running a plan: chunk by chunk, row by row, so that any kill loses one chunk at most."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from secondlook import registry
from secondlook.attacks.pairs import Pairs
from secondlook.audit import certification, diagnosis, resubmission
from secondlook.audit.adversarial import Adversarial
from secondlook.audit.collective import score_all
from secondlook.audit.estimate import Costs, announcement, measured
from secondlook.audit.generate import Generated, generate, generated, is_made, with_attack
from secondlook.audit.integrity import Done
from secondlook.audit.overhead import timed_beside_bare
from secondlook.audit.pace import Pace
from secondlook.audit.plan import AttackSpec, Chunk, Plan, Row, Shard, chunks, partition
from secondlook.audit.store import Record, Run
from secondlook.audit.study import Study
from secondlook.defenses.guarded import Guarded
from secondlook.ledger import counting
from secondlook.places import anonymous
from secondlook.progress import Tick
from secondlook.tasks.base import SAMPLED, Batch


def identity(study: Study, command: str, shard: Shard) -> Record:
    """What a run directory has to agree with to be continued."""
    config = study.model_dump()
    return {
        "schema": 1,
        "command": anonymous(config, command)(command),
        "version": version("secondlook"),
        "study": config,
        "config_hash": registry.digest(config),
        "seed": study.seed,
        "shard": str(shard),
        "parts": shard.count,
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }


def execute(
    plan: Plan, folder: Path, shard: Shard, tick: Tick, command: str = "", notify: Callable[[str], None] | None = None
) -> Run:
    """Does what of a plan is not done yet.

    ``notify`` is told how long that takes at most, which is measured before; where there is none,
    nothing is measured.

    The shard of a collective task only generates: :func:`settle` scores the whole.

    Raises:
        BrokenRun: the directory belongs to something else, is damaged, or cannot be written to.
        InvalidInput: there are more shards than samples.
    """
    size = len(plan.task.rows), plan.study.batch
    parts = chunks(*size, shard)
    run = Run.open(folder, identity(plan.study, command, shard))
    if shard.count == 1:
        parts = partition(*size, run.parts)
    _inspect(plan, run, tick)
    work, done = _Work(plan, run), Done(plan, run)
    whole = shard.count == 1 or not plan.task.collective
    pace = _pace(done, parts, tick, notify, whole)
    if plan.task.collective:
        _generate_all(plan, run, work, parts, pace)
        if shard.count > 1:
            tick(1, 1, "generated; merge the shards to score them")
            return run
        score_all(plan, run, parts, pace)
    else:
        _score_samples(work, done, parts, pace)
    _check_sanity(plan, run, pace)
    tick(1, 1, "done")
    return run


def _pace(
    done: Done, parts: Sequence[Chunk], tick: Tick, notify: Callable[[str], None] | None = None, scored: bool = True
) -> Pace:
    """The pace of what is left to do of a run, measured where anybody is told."""
    jobs = Costs().jobs(done, parts, scored)
    if notify is None or not jobs:
        return Pace(tick, jobs)
    jobs = measured(done.plan, tick).jobs(done, parts, scored)
    notify(announcement(done.plan, jobs))
    return Pace(tick, jobs, measured=True)


def settle(plan: Plan, run: Run, tick: Tick) -> Run:
    """Completes a run that was put together from shards.

    Raises:
        BrokenRun: a part of what has to be scored together was not generated.
    """
    if plan.task.collective:
        parts = partition(len(plan.task.rows), plan.study.batch, run.parts)
        pace = _pace(Done(plan, run), parts, tick)
        score_all(plan, run, parts, pace)
        _check_sanity(plan, run, pace)
    tick(1, 1, "done")
    return run


def _generate_all(plan: Plan, run: Run, work: _Work, parts: Sequence[Chunk], pace: Pace) -> None:
    specs = plan.specs
    for chunk in parts:
        for number, spec in enumerate(specs):
            victims = ", ".join(victim.model.name for victim in spec.victims)
            what = f"attack {number + 1} of {len(specs)}, {_samples(plan, chunk)}: {spec.settings['name']} on {victims}"
            if not is_made(run, spec, [plan.task.ids[each] for each in chunk.at], chunk.number):
                row = next(row for row in plan.rows if row.spec and row.spec.id == spec.id)
                with pace.doing(spec.id, what):
                    generated(plan, run, spec, work.batch(row, chunk), chunk.number)


def _score_samples(work: _Work, done: Done, parts: Sequence[Chunk], pace: Pace) -> None:
    """Does each row of each chunk of which the run has not every record, or not what it cost."""
    plan = done.plan
    for chunk in parts:
        for number, row in enumerate(plan.rows):
            if not done.has(row, chunk.number):
                with pace.doing(row.id, _named(plan, row, number, chunk)):
                    work.score(row, chunk, done)


def _named(plan: Plan, row: Row, number: int, chunk: Chunk) -> str:
    """The row and the samples that are at hand, and how many of each there are."""
    attack = f" {row.spec.settings['name']}" if row.spec else ""
    return f"row {number + 1} of {len(plan.rows)}, {_samples(plan, chunk)}: {row.label}, {row.knowledge}{attack}"


def _samples(plan: Plan, chunk: Chunk) -> str:
    return f"samples {chunk.at[0] + 1}-{chunk.at[-1] + 1} of {len(plan.task.rows)}"


class _Work:
    """The chunk at hand, read once for each kind of batch."""

    def __init__(self, plan: Plan, run: Run) -> None:
        self.plan, self.run = plan, run
        self._chunk: Chunk | None = None
        self._batches: dict[Any, Batch] = {}

    def batch(self, row: Row, chunk: Chunk) -> Batch:
        """The clean samples of a chunk, as a row's model is given them."""
        if self._chunk is not chunk:
            self._chunk, self._batches = chunk, {}
        key = self.plan.task.batch_key(row.guarded)
        if key not in self._batches:
            self._batches[key] = self.plan.task.batch(chunk.at, row.guarded)
        return self._batches[key]

    def score(self, row: Row, chunk: Chunk, done: Done) -> None:
        """Computes a whole chunk, so that it is what it would have been; adds what is missing."""
        row.guarded.prepare()
        batch = self.batch(row, chunk)
        made = generated(self.plan, self.run, row.spec, batch, chunk.number) if row.spec else None
        given = _pairs(made) if made else batch.pairs
        rows, cost = answered(self.plan, row, batch, given)
        about: Record = {"cell": row.id, "chunk": chunk.number, "decide": cost, "attack": {}}
        if made is not None:
            about |= {"attack": made.cost, **_said(made.adversarial)}
            rows = with_attack(rows, row, batch.pairs, made.adversarial)
            if resubmission.tries(self.plan, row):
                again = resubmission.successes(self.plan, row, batch, given)
                rows = [{**found, "through": through} for found, through in zip(rows, again, strict=True)]
        if certification.draws(self.plan, row):
            promised = certification.certificates(self.plan, row, batch, given)
            rows = [{**found, **promise} for found, promise in zip(rows, promised, strict=True)]
        named = [{"cell": row.id, "sample": name, **found} for name, found in zip(batch.ids, rows, strict=True)]
        done.add(row, chunk.number, about, named)


def _pairs(made: Generated) -> Pairs:
    return Pairs(made.adversarial.images, made.adversarial.captions)


def _said(made: Adversarial) -> Record:
    """What an attack says of itself, where it says anything."""
    said = {"members": list(made.members), "notices": list(made.notices)}
    return {key: value for key, value in said.items() if value}


def answered(plan: Plan, row: Row, batch: Batch, given: Pairs) -> tuple[list[Record], Record]:
    """What a row's model answers, again and again if it is randomized, and what it cost once."""
    task, guarded = plan.task, row.guarded
    repeats = plan.study.rescore if guarded.stochastic or task.stochastic else 1
    answers = []
    # What another row has left in a cache would make this one look cheaper.
    guarded.forget()
    for repeat in range(repeats):
        with counting() as ledger:
            keys = batch.keys.fold("decide", repeat)
            answers.append(task.answer(batch, given, guarded, keys))
        if repeat == 0:
            cost = ledger.spent(digits=5)
    own, bare = cost["seconds"], cost["seconds"]
    if not guarded.bare:
        own, bare = timed_beside_bare(task, guarded, batch, given, own)
    records = task.records(batch, guarded, answers, row.objective)
    return records, {**cost, "seconds": round(own, 5), "bare_seconds": round(bare, 5)}


def _inspect(plan: Plan, run: Run, tick: Tick) -> None:
    """Looks at each clean row that the run has not looked at yet.

    A broken model is reported before hours are spent on it.
    """
    known = {line.get("inspected") for line in run.ledger}
    for row in plan.rows:
        if row.knowledge == "clean" and row.id not in known:
            tick(0, 1, f"inspecting {row.label}")
            row.guarded.prepare()
            batch = plan.task.batch(_few(plan), row.guarded)
            found = plan.task.inspect(batch, row.guarded)
            thresholds = row.guarded.thresholds if row.guarded.rejects else None
            line = {"inspected": row.id, **found}
            run.ledger.append([line if thresholds is None else {**line, "thresholds": thresholds}])


def _check_sanity(plan: Plan, run: Run, pace: Pace) -> None:
    """Runs each attack once with nothing to hold it back, where the run has not yet."""
    what, done = "attacking without a bound, as a check", {x.get("probe") for x in run.ledger}
    for spec in {spec.id: spec for spec in plan.sanity.values()}.values():
        if spec.id not in done:
            with pace.doing(spec.id, what):
                run.ledger.append([{"probe": spec.id, **tried(plan, spec, spec.victims[0])}])
    _check_aims(plan, run, pace)
    _diagnose(plan, run, pace)


def _diagnose(plan: Plan, run: Run, pace: Pace) -> None:
    """Tries each manner of attacking a defense by itself on a few samples, where the run has not yet."""
    done = {line.get("diagnosed") for line in run.ledger}
    for what in {each.id: each for each in plan.diagnoses.values()}.values():
        if what.id not in done:
            with pace.doing(what.id, "asking whether a defense hides its gradient, as a check"):
                run.ledger.append([{"diagnosed": what.id, **diagnosis.measured(plan, what)}])


def _check_aims(plan: Plan, run: Run, pace: Pace) -> None:
    """Tries other aims of each adaptive attack on a few samples, where the run has not yet."""
    done = {line.get("other_objective") for line in run.ledger}
    for row in plan.rows:
        for name, spec in plan.aims.get(row.spec.id if row.spec else "", {}).items():
            if spec.id not in done:
                with pace.doing(spec.id, f"trying another aim, as a check: {name}"):
                    run.ledger.append([{"other_objective": spec.id, **tried(plan, spec, row.guarded)}])
                done.add(spec.id)


def tried(plan: Plan, spec: AttackSpec, victim: Guarded) -> Record:
    """How an attack does on a few samples against a guarded model."""
    victim.prepare()
    batch = plan.task.batch(_few(plan), victim)
    made = generate(plan, spec, batch)
    reached = plan.task.reached(batch, _pairs(made), victim, spec.options.objective)
    return {
        "n": len(reached),
        "success": sum(reached) / len(reached),
        "samples": dict(zip(batch.ids, reached, strict=True)),
    }


def _few(plan: Plan) -> range:
    return range(min(SAMPLED, len(plan.task.rows)))
