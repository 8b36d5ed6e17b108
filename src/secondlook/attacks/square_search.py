"""Random search over a batch: propose, ask, keep what is better."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from secondlook.attacks.base import Objective, Trace
from secondlook.attacks.pool import Diary, Pool
from secondlook.attacks.square_patterns import Painter
from secondlook.randomness import Keys
from secondlook.threat import Threat

BLOCK = 256
"""Queries whose randomness is drawn at once: a generator costs more than its numbers."""


@dataclass
class Canvas:
    """Where each sample stands.

    Attributes:
        x: the best image of this run, ``[A, ...]``.
        loss: what it is worth, ``[A]``.
        asked: queries behind it; the first is the clean image, and belongs to no run, ``[A]``.
        draws: the randomness of its current block of queries, ``[A, BLOCK, V]``.
    """

    x: Tensor
    loss: Tensor
    asked: Tensor
    draws: Tensor


class Search:
    """All queries of all runs.

    Attributes:
        best_x: the image of each sample that fooled, or was worth most, ``[B, ...]``.
    """

    def __init__(
        self, *, asked: Objective, clean: Tensor, threat: Threat, keys: Keys, painter: Painter,
        runs: int, early_exit: bool, width: int,
    ) -> None:  # fmt: skip
        self.clean, self.threat, self.painter, self.early_exit = clean, threat, painter, early_exit
        self.queries, self.last = len(painter.sides), runs * len(painter.sides)
        self.best_x = clean.clone()
        self.best = clean.new_full((len(clean),), float("-inf"))
        self.spent = torch.zeros_like(self.best)
        self.diary = Diary(clean)
        self.pool = Pool(asked, clean, keys, self._begin, width=width)

    def run(self) -> None:
        """Asks until nobody is left."""
        with torch.no_grad():
            while len(self.pool):
                self.pool.leave(self._ask())

    def trace(self) -> Trace:
        """What was seen; a query counts as a step, and none has a gradient that could be zero."""
        return replace(self.diary.trace(), steps=self.spent)

    def _begin(self, rows: Tensor) -> Canvas:
        worst = self.best.new_full((len(rows),), float("-inf"))
        draws = self.clean.new_zeros(len(rows), BLOCK, self.painter.wants)
        return Canvas(self.clean[rows], worst, torch.zeros_like(rows), draws)

    def _ask(self) -> Tensor:
        """One query for everyone in flight; says who is done, ``[A]``."""
        pool, state = self.pool, self.pool.state
        opens = (state.asked > 0) & ((state.asked - 1) % self.queries == 0)
        x = self._proposal(opens)
        judged = pool.objective(x, pool.keys.at(state.asked))
        won = self._lasting(x, judged.reached & self.early_exit)
        self._keep(x, judged.loss, opens | won)
        early = state.asked <= self.last // 2
        self.diary.note(pool.rows, state.loss, first=state.asked == 0, early=early)
        self.spent[pool.rows] += 1
        state.asked = state.asked + 1
        done = won | (state.asked > self.last)
        self._settle(done | ((state.asked - 1) % self.queries == 0), won)
        return done

    def _proposal(self, opens: Tensor) -> Tensor:
        """The next image of everyone in flight."""
        pool, state, turn = self.pool, self.pool.state, self.pool.state.asked - 1
        if bool((turn < 0).all()):
            return pool.clean.clone()
        self._draw(torch.nonzero((turn >= 0) & (turn % BLOCK == 0)).flatten())
        draws = state.draws[torch.arange(len(turn), device=turn.device), turn % BLOCK]
        side = self.painter.sides[turn % self.queries]
        x = self.painter.propose(state.x, pool.clean, side, draws)
        x = x.where((turn >= 0)[:, None, None, None], pool.clean) if bool((turn < 0).any()) else x
        rows = torch.nonzero(opens).flatten()
        if len(rows):
            x[rows] = self._start(rows)
        return x

    def _draw(self, rows: Tensor) -> None:
        """The randomness of the next block."""
        if not len(rows):
            return
        state, keys = self.pool.state, self.pool.keys[rows].fold("query")
        shape = state.draws.shape[1:]
        state.draws[rows] = keys.at((state.asked[rows] - 1) // BLOCK).uniform(shape, state.x)

    def _start(self, rows: Tensor) -> Tensor:
        """The image with which the samples ``rows`` begin a run."""
        keys = self.pool.keys[rows].fold("start").at(self.pool.state.asked[rows] // self.queries)
        draws = keys.uniform(self.painter.opening, self.clean)
        return self.painter.start(self.pool.clean[rows], draws)

    def _lasting(self, x: Tensor, reached: Tensor) -> Tensor:
        """Who goes on fooling once the image is rounded to 8 bits, as every result is."""
        rows = torch.nonzero(reached).flatten()
        if not len(rows):
            return reached
        pool, clean = self.pool, self.pool.clean[rows]
        rounded = self.threat.quantise(self.threat.project(x[rows], clean), clean)
        other = (rounded != x[rows]).flatten(1).any(1)
        if not bool(other.any()):
            return reached
        rows = rows[other]
        keys = pool.keys[rows].at(pool.state.asked[rows])
        lasts = pool.objective.take(rows)(rounded[other], keys).reached
        return reached.index_copy(0, rows, lasts)

    def _keep(self, x: Tensor, loss: Tensor, anyway: Tensor) -> None:
        """A run goes on from what is better; and from its start and its end, whatever they are."""
        state = self.pool.state
        kept = anyway | (loss > state.loss)
        state.loss = torch.where(kept, loss.to(state.loss), state.loss)
        rows = torch.nonzero(kept).flatten()
        state.x[rows] = x[rows]

    def _settle(self, ended: Tensor, won: Tensor) -> None:
        """Writes down what a run came to, before another one begins."""
        rows = torch.nonzero(ended).flatten()
        if not len(rows):
            return
        state, whole = self.pool.state, self.pool.rows
        rows = rows[(state.loss[rows] > self.best[whole[rows]]) | won[rows]]
        self.best_x[whole[rows]], self.best[whole[rows]] = state.x[rows], state.loss[rows]
