"""What a plan costs on this machine: a few of its passes are measured, and all of them reckoned from that."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch

from secondlook.attacks.base import Attack, Objective, input_gradient
from secondlook.audit.certification import draws
from secondlook.audit.generate import generate, is_made, objective
from secondlook.audit.integrity import Done
from secondlook.audit.pace import Job
from secondlook.audit.plan import AttackSpec, Chunk, Plan, Row, partition
from secondlook.audit.resubmission import tries
from secondlook.audit.store import Run
from secondlook.audit.study import shipped_at
from secondlook.ledger import counting
from secondlook.models import load
from secondlook.models.base import evaluating
from secondlook.progress import Tick, span
from secondlook.tasks.base import SAMPLED, Batch

_RUNS, _SHORT = 3, 0.5
"""How often a pass is measured that takes less than so many seconds."""
ANSWERS: Final = "answers"
"""The kind of the jobs in which all rows of a task that is scored as a whole are asked."""


@dataclass(frozen=True)
class Cost:
    """What one sample takes at most.

    Attributes:
        seconds: on this machine.
        forwards: of it and its views through models.
    """

    seconds: float = 0.0
    forwards: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """Those of both."""
        return Cost(self.seconds + other.seconds, self.forwards + other.forwards)


@dataclass(frozen=True)
class Costs:
    """What each part of a plan takes for a sample; without any measure, all attacks take alike long.

    Attributes:
        attacks: by the id of the attack.
        answers: by the id of the row: what is asked of its model, with all repeats.
        measured: whether seconds are seconds.
    """

    attacks: dict[str, Cost] = field(default_factory=dict)
    answers: dict[str, Cost] = field(default_factory=dict)
    measured: bool = False

    def attack(self, spec: AttackSpec) -> Cost:
        """Of one attack on a sample."""
        return self.attacks.get(spec.id, Cost(50.0))

    def answer(self, row: Row) -> Cost:
        """Of one row's answers to a sample."""
        return self.answers.get(row.id, Cost(1.0))

    def jobs(self, done: Done, parts: Sequence[Chunk], scored: bool = True) -> list[Job]:
        """All that a run has still to do for some chunks, and its checks.

        ``scored`` says whether a task that is scored as a whole is scored here, and not only attacked.
        """
        plan, run = done.plan, done.run
        if not plan.task.collective:
            return [*self._scoring(done, parts), *self._checks(plan, run)]
        lost = [
            (spec, chunk)
            for chunk in parts
            for spec in plan.specs
            if not is_made(run, spec, [plan.task.ids[at] for at in chunk.at], chunk.number)
        ]
        made = [_job(spec.id, self.attack(spec), len(chunk.at)) for spec, chunk in lost]
        if not scored:
            return made
        rows = [row for row in plan.rows if not done.has(row)]
        answers = sum((self.answer(row) for row in rows), Cost())
        return [*made, *(_job(ANSWERS, answers, len(chunk.at)) for chunk in parts if rows), *self._checks(plan, run)]

    def _scoring(self, done: Done, parts: Sequence[Chunk]) -> Iterator[Job]:
        """Each row of each chunk: the attack, unless a row before has it already, and the answers."""
        for chunk in parts:
            made = {spec.id for spec in done.plan.specs if done.run.adversarial(spec.id, chunk.number).exists()}
            for row in (row for row in done.plan.rows if not done.has(row, chunk.number)):
                attack = self.attack(row.spec) if row.spec and row.spec.id not in made else Cost()
                made |= {row.spec.id} if row.spec else set()
                yield _job(row.id, attack + self.answer(row), len(chunk.at))

    def _checks(self, plan: Plan, run: Run) -> list[Job]:
        """The attacks without a bound, those at other aims, and the diagnoses, on a few samples each."""
        ran = {line.get(kind) for line in run.ledger for kind in ("probe", "other_objective", "diagnosed")}
        costs = {plan.sanity[spec.id].id: self.attack(spec) for spec in plan.specs if spec.id in plan.sanity}
        for spec in plan.specs:
            costs |= {aim.id: self.attack(spec) for aim in plan.aims.get(spec.id, {}).values()}
            # A diagnosis has fewer steps than the attack, but each manner has all samples: no more than it, as a rule.
            costs |= {what.id: self.attack(spec) for what in [plan.diagnoses.get(spec.id)] if what}
        count = min(SAMPLED, len(plan.task.rows))
        return [_job(name, cost, count) for name, cost in costs.items() if name not in ran]


def _job(kind: str, cost: Cost, samples: int) -> Job:
    return Job(kind, cost.seconds * samples, int(cost.forwards * samples))


def measured(plan: Plan, tick: Tick) -> Costs:
    """Measures a gradient and an answer of each guarded model of a plan, on a few samples.

    An attack that cannot say how many passes it needs, and one on pairs, is timed on one sample.
    """
    few = range(min(SAMPLED, plan.study.batch, len(plan.task.rows)))
    attacks: dict[str, Cost] = {}
    answers: dict[str, Cost] = {}
    known: dict[Any, tuple[Cost, Cost]] = {}
    for row in plan.rows:
        tick(0, 1, "measuring a few passes")
        row.guarded.prepare()
        batch = plan.task.batch(few, row.guarded)
        answers[row.id] = _answer(plan, row, batch)
        if row.spec and row.spec.id not in attacks:
            attacks[row.spec.id] = _attack(plan, row.spec, batch, known)
    return Costs(attacks, answers, measured=True)


def _answer(plan: Plan, row: Row, batch: Batch) -> Cost:
    """All answers to a sample, and those of the bare model beside them."""
    task, guarded = plan.task, row.guarded
    repeats: float = plan.study.rescore if guarded.stochastic or task.stochastic else 1
    repeats += tries(plan, row) + 1.1 * draws(plan, row) / max(guarded.draws, 1)
    keys = batch.keys.fold("estimate")
    one = _timed(lambda: task.answer(batch, batch.pairs, guarded, keys), len(batch.ids), guarded.forget)
    return Cost(one.seconds * (repeats + 1), one.forwards * (repeats + 1))


def _attack(plan: Plan, spec: AttackSpec, batch: Batch, known: dict[Any, tuple[Cost, Cost]]) -> Cost:
    for victim in (*spec.victims, *([spec.queried] if spec.queried else [])):
        victim.prepare()
        victim.forget()
    if not isinstance(spec.attack, Attack):
        return _whole(plan, spec)
    goal = objective(plan, spec, batch)
    passes = spec.attack.passes(goal, spec.threat)
    if passes is None:
        return _whole(plan, spec)
    key = (*map(id, spec.victims), id(spec.queried), spec.options, spec.batch_key, bool(passes.gradients))
    if key not in known:
        known[key] = _passes(goal, batch, bool(passes.gradients))
    gradient, query = known[key]
    return Cost(
        passes.gradients * gradient.seconds + passes.queries * query.seconds,
        passes.gradients * gradient.forwards + passes.queries * query.forwards,
    )


def _whole(plan: Plan, spec: AttackSpec) -> Cost:
    """The attack itself on one sample."""
    row = next(row for row in plan.rows if row.spec is spec or (row.spec and row.spec.id == spec.id))
    batch = plan.task.batch(range(1), row.guarded)
    with counting() as ledger:
        generate(plan, spec, batch)
    return Cost(ledger.seconds, ledger.forwards)


def _passes(goal: Objective, batch: Batch, differentiated: bool) -> tuple[Cost, Cost]:
    """A gradient of an objective, and a look at it."""
    images, keys, count = batch.pairs.images, batch.keys.fold("estimate"), len(batch.ids)
    first, last = goal.parts[0], goal.parts[-1]

    def look() -> None:
        with torch.no_grad():
            last(images, keys)

    with torch.enable_grad(), evaluating(goal.modules):
        query = _timed(look, count)
        gradient = _timed(lambda: input_gradient(first, images, keys), count) if differentiated else query
    return gradient, query


def _timed(act: Callable[[], object], count: int, before: Callable[[], None] = lambda: None) -> Cost:
    """The shortest of a few runs, as many as are short: what else the machine does only makes them longer."""
    found: list[Cost] = []
    while not found or (len(found) < _RUNS and found[0].seconds * count < _SHORT):
        before()
        with counting() as ledger:
            act()
            if torch.cuda.is_initialized():
                torch.cuda.synchronize()
        found.append(Cost(ledger.seconds / count, ledger.forwards / count))
    return min(found, key=lambda cost: cost.seconds)


def whole(plan: Plan, tick: Tick) -> float:
    """Seconds that a plan takes at most from its beginning to its end, measured here."""
    parts = partition(len(plan.task.rows), plan.study.batch, 1)
    done = Done(plan, Run(Path("nothing-is-done-yet")))
    return sum(job.seconds for job in measured(plan, tick).jobs(done, parts))


def unit() -> float:
    """Seconds of a gradient of ``scenes:clip`` to one of eight images: what studies' stored costs are counted in."""
    model = load("scenes:clip")
    x = torch.full((SAMPLED, 3, *(model.size or (64, 64))), 0.5, requires_grad=True)

    def act() -> None:
        torch.autograd.grad(model.embed(x).sum(), x)

    return min(_timed(act, SAMPLED).seconds for _ in range(3))


def stored() -> dict[str, float]:
    """What each study of the package takes at most, in :func:`unit`, as ``experiments.study_costs`` measured it."""
    found: dict[str, float] = json.loads((shipped_at() / "costs.json").read_bytes())
    return found


def announcement(plan: Plan, jobs: Sequence[Job]) -> str:
    """What a run takes at most, in a line."""
    count, attacks = len(plan.task.rows), len(plan.specs)
    held = ((count, "sample"), (len(plan.rows), "row"), (attacks, "attack"))
    counts = ", ".join(f"{number} {kind}{'s' * (number != 1)}" for number, kind in held)
    return (
        f"about {span(sum(job.seconds for job in jobs))} at most on this machine: {counts}; "
        "attacks that succeed early take less"
    )
