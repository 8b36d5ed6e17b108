"""APGD by many ways in short runs, of which the better half goes on for twice as long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Final, Protocol, runtime_checkable

import torch
from torch import Tensor

from secondlook.attacks.apgd import APGD, State
from secondlook.attacks.base import Attack, AttackResult, Evaluation, Objective, Passes, Trace
from secondlook.attacks.search_state import BestPoints
from secondlook.bounds import Count, Natural, bounded
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.threat import Threat, per_sample

LAST: Final = 2
"""Ways of each sample that run in the last round."""


@runtime_checkable
class Choosing(Objective, Protocol):
    """An objective with several ways to reach it, whose own success says whether one did."""

    @property
    def counts(self) -> tuple[int, ...]:
        """Of each sample how many ways there are."""
        ...

    def choosing(self, chosen: Sequence[int]) -> Objective:
        """What is climbed by the way with the given number of each sample."""
        ...


@bounded
@dataclass(frozen=True, kw_only=True)
class CandidateHalving(Attack):
    """APGD by successive halving (Karnin et al. 2013) of the ways that each sample has.

    The first round tries all ways in short runs, and each further round the better half of them, by
    the loss that they have come to, for twice as many steps from where they stand, until the last two
    have had a run of ``steps``. After each run the objective itself judges what was found, and a
    sample that has succeeded leaves. All that is decided of a sample comes from its own runs.

    Attributes:
        steps: of a run in the last round.
        looks: fresh draws of a randomized victim that judge a point; all of them must succeed.
        confirm: see :class:`~secondlook.attacks.apgd.APGD`.
        width: samples attacked at once; 0 for all.

    Raises:
        InvalidInput: a number below its least; in a search, an objective without ways to choose from.
    """

    steps: Count = 50
    looks: Count = 1
    confirm: Count = 1
    width: Natural = 0

    def rounds(self, ways: int) -> Iterator[tuple[int, int]]:
        """Of every round how many ways of each sample run, and for how many steps."""
        counts = [ways] if ways else []
        while counts and counts[-1] > LAST:
            counts.append(-(-counts[-1] // 2))
        for number, count in enumerate(counts):
            yield count, max(self.steps // 2 ** (len(counts) - 1 - number), 1)

    def passes(self, objective: Objective, threat: Threat) -> Passes | None:
        """Those of all runs; after each of them its loss and what it has found are looked at."""
        if not isinstance(objective, Choosing):
            return None
        rounds = list(self.rounds(max(objective.counts, default=0)))
        runs = sum(count for count, _ in rounds)
        return Passes(sum(count * (steps + 1) for count, steps in rounds), runs * (self.looks + 2))

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """One round after the other, each with the ways that are left to a sample."""
        if not isinstance(objective, Choosing):
            raise InvalidInput("candidate halving needs an objective with several ways; attack it with apgd")
        field = Field(objective, clean, threat, keys)
        for number, (count, steps) in enumerate(self.rounds(field.ways)):
            order = field.ranked(count)
            for turn in range(order.shape[1]):
                apgd = APGD(steps=steps, loss="", confirm=self.confirm, width=self.width)
                field.run(apgd, order[:, turn], number, self.looks)
        return AttackResult(field.best.x, field.trace, success=field.best.success)


class Field:
    """A batch with where each way of each sample stands.

    Attributes:
        ways: the most that a sample has.
        loss: what each way has come to, minus infinity where there is none, ``[B, W]``.
        points: where each way stands, ``[B, W, ...]``.
        best: the best point of each sample.
        trace: of all runs.
    """

    def __init__(self, objective: Choosing, clean: Tensor, threat: Threat, keys: Keys) -> None:
        self._objective, self._clean, self._threat, self._keys = objective, clean, threat, keys
        self.ways = max(objective.counts, default=0)
        numbers, counts = torch.arange(self.ways), torch.tensor(objective.counts, dtype=torch.long)
        present = numbers < counts[:, None]
        self.loss = torch.where(present, 0.0, -torch.inf)
        self.points = clean[:, None].repeat(1, self.ways, *[1] * (clean.dim() - 1))
        self.best, self.trace = BestPoints(clean), Trace.unknown(clean)

    def ranked(self, count: int) -> Tensor:
        """The ways of each sample that have come farthest, -1 where it has fewer, ``[B, count]``."""
        order = self.loss.argsort(dim=1, descending=True, stable=True)[:, :count]
        return torch.where(self.loss.gather(1, order).isfinite(), order, -1)

    def run(self, apgd: APGD, ways: Tensor, number: int, looks: int) -> None:
        """Lets those who have not succeeded go on by ``ways``, ``[B]``, and judges what they find."""
        rows = torch.nonzero((ways >= 0) & ~self.best.success.cpu()).flatten()
        if not len(rows):
            return
        chosen, at = ways[rows], rows.to(self._clean.device)
        goal, clean = self._objective.take(at), self._clean[at]
        part, keys = goal.choosing(chosen.tolist()), self._keys[rows].fold("way").at(chosen)
        own = keys.fold("round", number)
        attack = apgd if number == 0 else ContinuedAPGD.of(apgd, self.points[at, chosen.to(at.device)])
        found = attack.search(part, clean, self._threat, own)
        x = self._threat.quantize(self._threat.project(found.x.detach(), clean), clean)
        told = confirmed(goal, x, own.fold("judge"), looks, apgd.width)
        with torch.no_grad():
            loss = part(x, own.fold("rank")).loss
        self.loss[rows, chosen] = loss.to(self.loss)
        self.points[at, chosen.to(at.device)] = x
        self.best.offer(at, x, loss, told.success)
        self.trace = with_search(self.trace, at, found.trace)


@dataclass(frozen=True, kw_only=True)
class ContinuedAPGD(APGD):
    """APGD whose first run starts at given points.

    Attributes:
        origin: of each sample of the batch, ``[B, ...]``.
    """

    origin: Tensor

    @classmethod
    def of(cls, apgd: APGD, origin: Tensor) -> ContinuedAPGD:
        """The same attack from ``origin``."""
        return cls(**{f.name: getattr(apgd, f.name) for f in fields(apgd)}, origin=origin)

    def start(self, rows: Tensor, clean: Tensor, threat: Threat, keys: Keys, run: Tensor) -> State:
        state = super().start(rows, clean, threat, keys, run)
        x = torch.where(per_sample(run == 0), self.origin[rows], state.x)
        return replace(state, x=x, previous=x.clone(), best_x=x.clone())


@torch.no_grad()
def confirmed(objective: Objective, x: Tensor, keys: Keys, looks: int, width: int) -> Evaluation:
    """The mean loss over fresh looks, and whether all of them succeed, ``[A]`` each."""
    found = []
    for rows in torch.arange(len(x), device=x.device).split(width or len(x)):
        part = objective.take(rows)
        seen = [part(x[rows], keys[rows].fold(look)) for look in range(looks)]
        loss = torch.stack([look.loss for look in seen]).mean(0)
        found.append(Evaluation(loss, torch.stack([look.success for look in seen]).all(0)))
    loss, success = (torch.cat(column) for column in zip(*found, strict=True))
    return Evaluation(loss, success)


def with_search(trace: Trace, rows: Tensor, last: Trace) -> Trace:
    """The trace with the losses and gradients of the last search of ``rows``, and the steps of all."""
    found = {f.name: getattr(trace, f.name).index_copy(0, rows, getattr(last, f.name)) for f in fields(trace)}
    return Trace(**{**found, "steps": trace.steps.index_add(0, rows, last.steps)})
