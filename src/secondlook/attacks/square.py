"""Square: random search that changes one square at a time and keeps what helps."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.attacks.base import Attack, AttackResult, Objective, Passes
from secondlook.attacks.class_objective import ClassLoss, ClassObjective
from secondlook.attacks.search_state import ActiveSet, TraceRecorder
from secondlook.bounds import Count, Natural, Part
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.signals import SOUND
from secondlook.threat import Threat

BLOCK = 256
"""Queries whose randomness is drawn at once: a generator costs more than its numbers."""
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Out of 10,000 queries, those after which the share of the changed pixels is halved."""
TILES = 5
BURSTS = 32
"""Stretches of time that a run of a sound begins with."""
_TINY = 1e-12


@dataclass
class State:
    """Where each sample stands.

    Attributes:
        x: the best image of this run, ``[A, ...]``.
        loss: of that image, ``[A]``.
        asked: queries behind it; the first is the clean image, and belongs to no run, ``[A]``.
        draws: the randomness of its current block of queries, ``[A, BLOCK, V]``.
    """

    x: Tensor
    loss: Tensor
    asked: Tensor
    draws: Tensor


@register("attack", "square")
@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Square attack: queries of scores and no gradient (Andriushchenko et al. 2020), L∞ or L2.

    Attributes:
        queries: forwards of a run, after one of the clean image.
        p_init: share of the pixels that is changed at once in the beginning.
        loss: ``margin`` or ``ce`` over the scores of classes; empty maximizes the loss of the
            objective itself, whatever it is.
        rescale: spreads the schedule of the squares' sides over ``queries``; as published it is
            the one of 10,000 queries, and is cut off.
        restarts: how often each sample is tried anew.
        early_exit: a sample leaves once it fools, on the grid too where the threat has one; else
            it is driven to the highest loss.
        width: how many samples are attacked at once; 0 for all.

    Raises:
        InvalidInput: a number outside its range; an objective without classes, where ``loss``
            needs them; a norm that no squares are known for.
    """

    only_asks: ClassVar[bool] = True
    queries: Count = 5000
    p_init: Part = 0.8
    loss: Literal["", "margin", "ce"] = "margin"
    rescale: bool = False
    restarts: Count = 1
    early_exit: bool = True
    width: Natural = 0

    def passes(self, objective: Objective, threat: Threat) -> Passes:
        """The queries, one of the clean image, and one of what a file would hold."""
        return Passes(queries=self.restarts * self.queries + 2)

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """Asks until every sample fools or has no query left."""
        return self.search_from(None, objective, clean, threat, keys)

    @torch.no_grad()
    def search_from(
        self, start: Tensor | None, objective: Objective, clean: Tensor, threat: Threat, keys: Keys
    ) -> AttackResult:
        """The same; the first run begins at ``start``, points of the ball, and not at stripes or tiles."""
        objective, squares = self.under_loss(objective), self.squares(clean, threat)
        best_x, best = clean.clone(), clean.new_full((len(clean),), float("-inf"))
        spent, success = torch.zeros_like(best), torch.zeros_like(best, dtype=torch.bool)
        trace, total = TraceRecorder(clean), self.restarts * self.queries

        def begin(rows: Tensor) -> State:
            draws = clean.new_zeros(len(rows), BLOCK, squares.draws)
            worst = best.new_full((len(rows),), float("-inf"))
            return State(clean[rows], worst, torch.zeros_like(rows), draws)

        active = ActiveSet(objective, clean, keys, begin, width=self.width)
        while len(active):
            state, rows = active.state, active.rows
            opens = (state.asked > 0) & ((state.asked - 1) % self.queries == 0)
            x = self._proposal(active, squares, opens)
            if start is not None:
                first = state.asked == 1
                x[first] = start[rows[first]]
            evaluation = active.objective(x, active.keys.at(state.asked))
            won = self._lasts(active, x, evaluation.success & self.early_exit, threat)
            # A run goes on from what is better; and from its start and its end, whatever they are.
            kept = opens | won | (evaluation.loss > state.loss)
            state.loss = torch.where(kept, evaluation.loss.to(state.loss), state.loss)
            better = torch.nonzero(kept).flatten()
            state.x[better] = x[better]
            early = state.asked <= total // 2
            trace.record(rows, state.loss, first=state.asked == 0, early=early)
            spent[rows] += 1
            state.asked = state.asked + 1
            done = won | (state.asked > total)
            # What a run came to is kept before another one begins.
            ended = done | ((state.asked - 1) % self.queries == 0)
            better = torch.nonzero(ended & ((state.loss > best[rows]) | won)).flatten()
            best_x[rows[better]], best[rows[better]] = state.x[better], state.loss[better]
            success[rows] = won
            active.leave(done)
        # A query counts as a step, and none has a gradient that could be zero.
        seen = success if self.early_exit else None
        return AttackResult(best_x, replace(trace.trace(), steps=spent), success=seen)

    def under_loss(self, objective: Objective) -> Objective:
        """The objective under the loss that is compared."""
        if not self.loss:
            return objective
        if not isinstance(objective, ClassObjective):
            raise InvalidInput(
                f"loss={self.loss!r} needs the scores of classes, and {type(objective).__name__} "
                'has none; write loss = "" to maximize its own'
            )
        return ClassLoss(objective=objective, loss="ce" if self.loss == "ce" else "cw")

    def squares(self, clean: Tensor, threat: Threat) -> Squares:
        """What is proposed in this ball."""
        if threat.ball == "l1":
            raise InvalidInput(f"square has no squares for {threat}; write norm 'linf' or 'l2'")
        kind: type[Squares] = LinfSquares if threat.ball == "linf" else L2Squares
        if kind is LinfSquares and threat.signal is SOUND:
            kind = Bursts
        return kind(clean, threat, shares(self.queries, self.p_init, self.rescale))

    def _proposal(self, active: ActiveSet[Objective, State], squares: Squares, opens: Tensor) -> Tensor:
        """The next image of all that are active."""
        state, clean, turn = active.state, active.clean, active.state.asked - 1
        if bool((turn < 0).all()):
            return clean.clone()
        due = torch.nonzero((turn >= 0) & (turn % BLOCK == 0)).flatten()
        if len(due):
            keys = active.keys[due].fold("query").at(turn[due] // BLOCK)
            state.draws[due] = keys.uniform(state.draws.shape[1:], state.x)
        draws = state.draws[torch.arange(len(turn), device=turn.device), turn % BLOCK]
        x = squares.propose(state.x, clean, squares.sides[turn % self.queries], draws)
        x = x.where((turn >= 0)[:, None, None, None], clean) if bool((turn < 0).any()) else x
        rows = torch.nonzero(opens).flatten()
        if len(rows):
            keys = active.keys[rows].fold("start").at(state.asked[rows] // self.queries)
            x[rows] = squares.start(clean[rows], keys.uniform(squares.start_shape, clean))
        return x

    @staticmethod
    def _lasts(active: ActiveSet[Objective, State], x: Tensor, success: Tensor, threat: Threat) -> Tensor:
        """Who goes on fooling once the image is on the threat's grid, as the result will be."""
        rows = torch.nonzero(success).flatten()
        if not len(rows):
            return success
        clean = active.clean[rows]
        rounded = threat.quantize(threat.project(x[rows], clean), clean)
        other = (rounded != x[rows]).flatten(1).any(1)
        if not bool(other.any()):
            return success
        rows = rows[other]
        keys = active.keys[rows].at(active.state.asked[rows])
        lasts = active.objective.take(rows)(rounded[other], keys).success
        return success.index_copy(0, rows, lasts)


def shares(queries: int, first: float, rescale: bool) -> list[float]:
    """The share of the pixels that is changed in each query.

    Args:
        queries: how many there are.
        first: the share at the beginning.
        rescale: spreads the halvings over ``queries``, which else come as in 10,000.
    """
    pace = 10_000 / queries if rescale else 1.0
    return [first / 2 ** sum(query * pace > turn for turn in HALVINGS) for query in range(queries)]


class Squares(ABC):
    """Proposes images of the ball around the clean ones; draws are uniform numbers in [0, 1).

    Attributes:
        draws: how many draws a proposal takes.
        start_shape: the shape of the draws that a start takes.
        sides: the side of the square in each query, ``[Q]``.
    """

    draws: int
    start_shape: tuple[int, ...]
    odd: bool = False

    def __init__(self, like: Tensor, threat: Threat, shares: Sequence[float]) -> None:
        self.threat, (self.height, self.width) = threat, like.shape[-2:]
        self.channels = like.shape[1]
        # For one image size there are few sides.
        known = {share: self._side(share) for share in set(shares)}
        self.sides = torch.tensor([known[share] for share in shares], device=like.device)
        self.down, self.across = (torch.arange(n, device=like.device) for n in (self.height, self.width))

    @abstractmethod
    def start(self, clean: Tensor, draws: Tensor) -> Tensor:
        """The image a run begins with; ``draws`` are ``[A, *start_shape]``."""

    @abstractmethod
    def propose(self, x: Tensor, clean: Tensor, side: Tensor, draws: Tensor) -> Tensor:
        """``x`` with a square of ``side`` changed; ``draws`` are ``[A, draws]``."""

    def _side(self, share: float) -> int:
        side = max(round(math.sqrt(share * self.height * self.width)), 3 if self.odd else 1)
        side += self.odd and side % 2 == 0
        return min(side, self.height, self.width)

    def corner(self, side: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Row and column of the upper left pixel of a square that lies in the image, ``[A]``."""
        top = (draws[:, 0] * (self.height - side + 1)).long()
        return top, (draws[:, 1] * (self.width - side + 1)).long()

    def within(self, top: Tensor, left: Tensor, side: Tensor) -> Tensor:
        """Whether each pixel is in the square, ``[A, 1, H, W]``."""
        rows, columns = self.down - top[:, None], self.across - left[:, None]
        tall = (rows >= 0) & (rows < side[:, None])
        wide = (columns >= 0) & (columns < side[:, None])
        return (tall[:, :, None] & wide[:, None, :])[:, None]


class LinfSquares(Squares):
    """L∞: vertical stripes, then squares, always at the corners of the ball (algorithm 2)."""

    def __init__(self, like: Tensor, threat: Threat, shares: Sequence[float]) -> None:
        super().__init__(like, threat, shares)
        self.draws, self.start_shape = 2 + self.channels, (self.channels, 1, self.width)

    def start(self, clean: Tensor, draws: Tensor) -> Tensor:
        """Each column of each channel goes up or down."""
        return (clean + self.threat.radius(clean) * signs(draws)).clamp_(0, 1)

    def propose(self, x: Tensor, clean: Tensor, side: Tensor, draws: Tensor) -> Tensor:
        """One square, each channel of which goes up or down."""
        square = self.within(*self.corner(side, draws), side)
        up = self.threat.radius(clean) * signs(draws[:, 2:])[:, :, None, None]
        return torch.where(square, (clean + up).clamp_(0, 1), x)


class Bursts(Squares):
    """L∞ in a sound: square waves of a pitch and phase of their own, always at the bounds of the ball.

    A square of an image is a patch of time and frequency here; a run begins with a burst in each of
    :data:`BURSTS` stretches of time. Pitches are drawn evenly on a logarithmic scale.
    """

    def __init__(self, like: Tensor, threat: Threat, shares: Sequence[float]) -> None:
        super().__init__(like, threat, shares)
        self.draws, self.start_shape = 3, (2, BURSTS)
        self.lowest = math.log(2 / self.width)

    def _side(self, share: float) -> int:
        return min(max(round(share * self.width), 2), self.width)

    def _wave(self, pitch: Tensor, phase: Tensor) -> Tensor:
        """Signs of sines, ``[A, 1, 1, W]``, of draws ``[A, W]`` or ``[A, 1]``."""
        turns = (self.lowest + pitch * (math.log(0.45) - self.lowest)).exp() * self.across + phase
        return signs((turns % 1).to(pitch))[:, None, None]

    def start(self, clean: Tensor, draws: Tensor) -> Tensor:
        """A burst in each stretch of time."""
        place = self.across * BURSTS // self.width
        wave = self._wave(draws[:, 0, place], draws[:, 1, place])
        return (clean + self.threat.radius(clean) * wave).clamp_(0, 1)

    def propose(self, x: Tensor, clean: Tensor, side: Tensor, draws: Tensor) -> Tensor:
        """One burst of ``side`` samples in place of what was there."""
        first = (draws[:, 0] * (self.width - side + 1)).long()
        at = self.across - first[:, None]
        here = ((at >= 0) & (at < side[:, None]))[:, None, None]
        wave = self._wave(draws[:, 1:2], draws[:, 2:3])
        return torch.where(here, (clean + self.threat.radius(clean) * wave).clamp_(0, 1), x)


class L2Squares(Squares):
    """L2: tiles to begin with; then each square takes over the length of another one.

    Andriushchenko et al. 2020, algorithm 3. The shape of a square, eta there, is a pair of
    pyramids of opposite sign.
    """

    odd = True

    def __init__(self, like: Tensor, threat: Threat, shares: Sequence[float]) -> None:
        super().__init__(like, threat, shares)
        self.tile = max(min(self.height, self.width) // TILES, 1)
        self.draws = 5 + self.channels
        self.start_shape = (self.channels, self.height // self.tile, self.width // self.tile)
        self.widest = int(self.sides.max())
        self.shapes = like.new_zeros(self.widest + 1, self.widest, self.widest)
        for side in self.sides.unique().tolist():
            self.shapes[side, :side, :side] = pyramids(side)

    def start(self, clean: Tensor, draws: Tensor) -> Tensor:
        """As many tiles as find room, in each channel up or down."""
        tiles = signs(draws).repeat_interleave(self.tile, 2).repeat_interleave(self.tile, 3)
        tiles = tiles * pyramids(self.tile).to(clean).repeat(*self.start_shape[1:])
        tall, wide = self.height - tiles.shape[2], self.width - tiles.shape[3]
        edges = (wide // 2, wide - wide // 2, tall // 2, tall - tall // 2)
        return self._onto_sphere(clean, F.pad(tiles, edges))

    def propose(self, x: Tensor, clean: Tensor, side: Tensor, draws: Tensor) -> Tensor:
        """Adds the shape in one square, and gives it the length that it and another square had."""
        delta, corner = x - clean, self.corner(side, draws)
        here = self.within(*corner, side)
        given = delta * (here | self.within(*self.corner(side, draws[:, 2:]), side))
        unused = (self.threat.radius(clean) ** 2 - _squared(delta).sum(1, keepdim=True)).clamp_min(0)
        length = (unused / self.channels + _squared(given)).sqrt()
        own = delta * here
        fresh = self._shape(*corner, side, draws[:, 4] < 0.5) * here
        fresh = fresh * signs(draws[:, 5:])[:, :, None, None]
        fresh = fresh + own / (_squared(own).sqrt() + _TINY)
        fresh = fresh * (length / (_squared(fresh).sqrt() + _TINY))
        return self._onto_sphere(clean, delta - given + fresh)

    def _shape(self, top: Tensor, left: Tensor, side: Tensor, turned: Tensor) -> Tensor:
        """The pyramids at their place, upright or turned, ``[A, 1, H, W]``; right in the square."""
        rows = (self.down - top[:, None]).clamp(0, self.widest - 1)[:, :, None]
        columns = (self.across - left[:, None]).clamp(0, self.widest - 1)[:, None, :]
        turned = turned[:, None, None]
        first, second = torch.where(turned, columns, rows), torch.where(turned, rows, columns)
        return self.shapes[side[:, None, None], first, second][:, None]

    def _onto_sphere(self, clean: Tensor, delta: Tensor) -> Tensor:
        length = _squared(delta).sum(1, keepdim=True).sqrt().clamp_min(_TINY)
        return (clean + delta * (self.threat.radius(clean) / length)).clamp_(0, 1)


def signs(draws: Tensor) -> Tensor:
    """-1 or 1 for each draw."""
    return torch.where(draws < 0.5, -1.0, 1.0).to(draws)


def pyramids(side: int) -> Tensor:
    """A pyramid over another one that is turned upside down, of L2 length 1, ``[side, side]``."""
    both = torch.cat([_pyramid(side // 2, side), -_pyramid(side - side // 2, side)])
    return both / both.square().sum().sqrt()


def _pyramid(height: int, width: int) -> Tensor:
    """At n steps from the middle: the sum of 1 / k² over the levels k that lie farther out."""
    rows = (torch.arange(height) - height // 2).abs()[:, None]
    columns = (torch.arange(width) - width // 2).abs()[None, :]
    levels = 1 / torch.arange(1, max(height, width) // 2 + 2).double() ** 2
    heights = levels.flip(0).cumsum(0).flip(0)[torch.maximum(rows, columns)]
    return (heights / heights.square().sum().sqrt().clamp_min(_TINY)).float()


def _squared(delta: Tensor) -> Tensor:
    """The squared L2 length of each channel, ``[A, C, 1, 1]``."""
    return delta.flatten(2).square().sum(2)[:, :, None, None]
