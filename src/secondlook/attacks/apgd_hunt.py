"""The search of APGD: every run of every sample, until it is fooled or has had them all."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from secondlook.attacks.apgd_schedule import Schedule, Walk
from secondlook.attacks.base import Judged, Objective, input_gradient
from secondlook.attacks.contest import View, judged
from secondlook.attacks.losses import Measured
from secondlook.attacks.pool import Diary, Pool, put
from secondlook.randomness import Keys


@dataclass(frozen=True, kw_only=True)
class Runs:
    """Which runs there are: one for each target and restart.

    Attributes:
        restarts: random starts for each target.
        targets: likeliest wrong classes to be driven to; 0 for an untargeted search.
        early_exit: whether a fooled sample leaves.
        width: how many samples are in flight at once; 0 for all.
    """

    restarts: int
    targets: int
    early_exit: bool
    width: int


class Finds:
    """The best point of each sample so far: what fools comes first, then the higher loss."""

    def __init__(self, clean: Tensor) -> None:
        self.x = clean.clone()
        self.reached = torch.zeros(len(clean), dtype=torch.bool, device=clean.device)
        self._loss = clean.new_full((len(clean),), float("-inf"))

    def offer(self, rows: Tensor, x: Tensor, loss: Tensor, reached: Tensor) -> None:
        """Keeps those that are better than what there is, ``[A]`` each."""
        loss, had = loss.to(self._loss), self.reached[rows]
        better = (reached & ~had) | ((reached == had) & (loss > self._loss[rows]))
        at = rows[better]
        self.x[at], self._loss[at], self.reached[at] = x[better], loss[better], reached[better]


class Hunt:
    """One search over one batch.

    Attributes:
        asked: the objective under the loss that is climbed.
        finds: the best points so far.
        diary: the trace so far.
    """

    def __init__(
        self, asked: Objective, clean: Tensor, keys: Keys, schedule: Schedule, runs: Runs
    ) -> None:
        self.asked, self.clean, self.keys = asked, clean, keys
        self.schedule, self.runs = schedule, runs
        self.finds, self.diary = Finds(clean), Diary(clean)
        self.rows = torch.arange(len(clean), device=clean.device)
        self.targets = self.rows.new_zeros(len(clean), 0)
        self.looked = runs.early_exit or runs.targets > 0

    def look(self) -> None:
        """Looks at the clean images: who is wrong already leaves, who is not gets its targets."""
        if not (self.looked and len(self.rows)):
            return
        chunks = self.rows.split(self.runs.width or max(len(self.rows), 1))
        with torch.no_grad():
            self.targets = torch.cat([self._look(rows) for rows in chunks])
        if self.runs.early_exit:
            self.rows = self.rows[~self.finds.reached]

    def _look(self, rows: Tensor) -> Tensor:
        asked, x, keys = self.asked.take(rows), self.clean[rows], self.keys[rows].fold("clean")
        targets = rows.new_zeros(len(rows), 0)
        if isinstance(asked, Measured):
            view = asked.contest.look(x, keys)
            if self.runs.targets:
                targets = likeliest(view, asked.contest.losing, self.runs.targets)
                asked = replace(asked, target=targets[:, 0])
            seen = judged(asked.of(view), view, asked.contest.losing)
        else:
            seen = asked(x, keys)
        everyone = torch.ones_like(seen.reached)
        self.diary.note(rows, seen.loss, first=everyone, early=everyone)
        self.finds.offer(
            rows[seen.reached], x[seen.reached], seen.loss[seen.reached], everyone[seen.reached]
        )
        return targets

    def walk(self) -> None:
        """Walks until nobody is left."""
        pool = Pool(
            self.asked, self.clean, self.keys.fold("walk"),
            lambda rows: self._begin(rows, torch.zeros_like(rows)),
            rows=self.rows, width=self.runs.width,
        )  # fmt: skip
        while len(pool):
            self._turn(pool)

    def _begin(self, rows: Tensor, run: Tensor) -> Walk:
        return self.schedule.begin(self.clean[rows], self.keys[rows], run)

    def _turn(self, pool: Pool[Objective, Walk]) -> None:
        """One step of everyone in flight."""
        walk, rows, steps = pool.state, pool.rows, self.schedule.steps
        self.schedule.advance(walk, pool.clean)
        final = walk.step == steps
        seen, gradient = self._see(pool, bool(final.all()))
        first = (walk.step == 0) & ((walk.run > 0) | (not self.looked))
        self.diary.note(rows, seen.loss, gradient, first=first, early=walk.step <= steps // 2)
        hit = seen.reached
        if bool(hit.any()):
            self.finds.offer(rows[hit], walk.x[hit], seen.loss[hit], hit[hit])
        self.schedule.learn(walk, seen.loss, gradient)
        self.schedule.check(walk, pool.clean)
        self._leave(pool, hit, final)

    def _see(self, pool: Pool[Objective, Walk], last: bool) -> tuple[Judged, Tensor | None]:
        walk, asked = pool.state, pool.objective
        if isinstance(asked, Measured) and self.targets.shape[1]:
            turn = walk.run % self.targets.shape[1]
            asked = replace(asked, target=self.targets[pool.rows].gather(1, turn[:, None])[:, 0])
        keys = pool.keys.at(walk.run * (self.schedule.steps + 1) + walk.step)
        if last:
            with torch.no_grad():
                return asked(walk.x, keys), None
        gradient, seen = input_gradient(asked, walk.x, keys)
        return seen, gradient

    def _leave(self, pool: Pool[Objective, Walk], hit: Tensor, final: Tensor) -> None:
        """Whoever is fooled, or has had its last run, leaves; whose run is over begins the next."""
        walk, rows = pool.state, pool.rows
        runs = self.runs.restarts * max(self.targets.shape[1], 1)
        leaving = final & (walk.run + 1 == runs)
        if self.runs.early_exit:
            leaving = leaving | hit
        if bool(final.any()):
            self.finds.offer(rows[final], walk.best_x[final], walk.best[final], hit[final] & False)
            again = final & ~leaving
            put(walk, again, self._begin(rows[again], walk.run[again] + 1))
        pool.leave(leaving)


def likeliest(view: View, losing: Tensor, count: int) -> Tensor:
    """The likeliest classes but for the losing ones, mean over the draws, ``[B, count]`` at most.

    Fewer where there are not so many.
    """
    scores = view.scores.float().mean(1).scatter(1, losing, float("-inf"))
    order = scores.sort(dim=1, descending=True, stable=True).indices
    return order[:, : min(count, scores.shape[1] - losing.shape[1])]
