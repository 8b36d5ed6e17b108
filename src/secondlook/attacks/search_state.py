"""What a search over a batch keeps: samples at work, the best points, and the trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from torch import Tensor

from secondlook.attacks.base import Objective, Trace
from secondlook.randomness import Keys

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    S = TypeVar("S", bound=DataclassInstance)
else:
    S = TypeVar("S")
O = TypeVar("O", bound=Objective)  # noqa: E741
"""An objective of any kind."""


def pick(state: S, rows: Tensor) -> S:
    """Some of the samples of a state, a dataclass whose fields are all tensors ``[A, ...]``."""
    return type(state)(**{f.name: getattr(state, f.name)[rows] for f in fields(state)})


def join(state: S, other: S) -> S:
    """The samples of one state and, after them, those of another."""
    both = {f.name: (getattr(state, f.name), getattr(other, f.name)) for f in fields(state)}
    return type(state)(**{name: torch.cat(pair) for name, pair in both.items()})


def put(state: S, rows: Tensor, other: S) -> None:
    """Overwrites some samples of a state in place with those of another."""
    for f in fields(state):
        getattr(state, f.name)[rows] = getattr(other, f.name)


class ActiveSet(Generic[O, S]):
    """Up to ``width`` samples of a batch at work, each with a state of its own.

    A sample that is done leaves, and the next one takes its place. Its state must not depend on
    who is beside it, nor on when it comes in: keep its step in the state, and draw from
    ``keys.at(state.step)``.

    Attributes:
        rows: positions of the active samples in the whole batch, ``[A]``.
        objective, clean, keys, state: theirs, in the order of ``rows``.

    Args:
        objective, clean, keys: of the whole batch.
        begin: makes the states of the samples at ``rows`` as they come in.
        rows: who takes part, in the order in which they come in; everyone by default.
        width: how many may be active at once; 0 for all.

    Example:
        A search over a state with a field ``x``, whose samples stay until they are done::

            active = ActiveSet(objective, clean, keys, begin)
            while len(active):
                done = step(active)
                found[active.rows[done]] = active.state.x[done]
                active.leave(done)
    """

    def __init__(
        self,
        objective: O,
        clean: Tensor,
        keys: Keys,
        begin: Callable[[Tensor], S],
        *,
        rows: Tensor | None = None,
        width: int = 0,
    ) -> None:
        self._whole, self._clean, self._keys, self._begin = objective, clean, keys, begin
        queue = torch.arange(len(clean), device=clean.device) if rows is None else rows
        self._width = width or len(queue)
        self.rows, self._pending = queue[: self._width], queue[self._width :]
        self.state = begin(self.rows)
        self._gather()

    def __len__(self) -> int:
        return len(self.rows)

    def leave(self, done: Tensor) -> None:
        """Takes the samples out that are ``done``, ``[A]`` bool, and lets the next ones in."""
        if not bool(done.any()):
            return
        stay = torch.nonzero(~done).flatten()
        self.rows, self.state = self.rows[stay], pick(self.state, stay)
        free = self._width - len(self.rows)
        coming, self._pending = self._pending[:free], self._pending[free:]
        if len(coming):
            self.rows = torch.cat([self.rows, coming])
            self.state = join(self.state, self._begin(coming))
        self._gather()

    def _gather(self) -> None:
        everyone = len(self.rows) == len(self._clean) and not len(self._pending)
        if everyone and torch.equal(self.rows, torch.arange(len(self.rows)).to(self.rows)):
            self.objective, self.clean, self.keys = self._whole, self._clean, self._keys
            return
        self.objective = self._whole.take(self.rows)
        self.clean, self.keys = self._clean[self.rows], self._keys[self.rows]


class BestPoints:
    """The best point of each sample so far: what succeeds comes first, then the higher loss.

    Attributes:
        x: those points, ``[B, ...]``; the start where nothing better was offered.
        success: who has succeeded, ``[B]`` bool.
    """

    def __init__(self, start: Tensor) -> None:
        self.x = start.clone()
        self.success = torch.zeros(len(start), dtype=torch.bool, device=start.device)
        self._loss = start.new_full((len(start),), float("-inf"))

    def offer(self, rows: Tensor, x: Tensor, loss: Tensor, success: Tensor | None = None) -> None:
        """Keeps those points of the samples ``rows`` that are better, ``[A]`` each.

        Without ``success`` the loss alone is compared.
        """
        loss, before = loss.to(self._loss), self.success[rows]
        success = before if success is None else success
        better = (success & ~before) | ((success == before) & (loss > self._loss[rows]))
        at = rows[better]
        self.x[at], self._loss[at], self.success[at] = x[better], loss[better], success[better]

    def put(self, rows: Tensor, x: Tensor, *, success: bool = False) -> None:
        """Takes the points ``x`` of the samples ``rows``, whatever there was."""
        self.x[rows], self.success[rows] = x, success


class TraceRecorder:
    """The trace of a batch while it is written, for samples that stand at different steps."""

    def __init__(self, clean: Tensor) -> None:
        blank = clean.new_full((len(clean),), float("nan"))
        self._first, self._middle, self._last = blank, blank.clone(), blank.clone()
        self._zero, self._bad, self._steps = (torch.zeros_like(blank) for _ in range(3))

    def record(
        self,
        rows: Tensor,
        loss: Tensor,
        gradient: Tensor | None = None,
        *,
        first: Tensor | bool = False,
        early: Tensor | bool = False,
    ) -> None:
        """Records one evaluation of the samples ``rows``.

        Args:
            rows: their positions in the whole batch, ``[A]``.
            loss: ``[A]``.
            gradient: ``[A, ...]``; an evaluation with a gradient counts as a step.
            first: for whom it is the first one, ``[A]`` bool, or one for all.
            early: who is not past the middle of the search, ``[A]`` bool, or one for all.
        """
        loss = loss.detach().to(self._last)
        self._last[rows] = loss
        for which, place in ((first, self._first), (early, self._middle)):
            if isinstance(which, Tensor):
                place[rows[which]] = loss[which]
            elif which:
                place[rows] = loss
        if gradient is not None:
            # Without a copy of the pixels: both are NaN where any pixel is.
            flat = gradient.flatten(1)
            peak = flat.amax(1).maximum(-flat.amin(1))
            self._steps[rows] += 1
            self._bad[rows] += (~peak.isfinite()).to(self._bad)
            self._zero[rows] += (peak == 0).to(self._zero)

    def trace(self) -> Trace:
        """What was recorded."""
        steps = self._steps.clamp_min(1)
        return Trace(
            first_loss=self._first,
            middle_loss=self._middle,
            last_loss=self._last,
            zero_gradient=self._zero / steps,
            bad_gradient=self._bad / steps,
            steps=self._steps,
        )
