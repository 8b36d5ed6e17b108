"""Samples in flight: whoever is done leaves the device at once, and the next one comes in."""

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


class Pool(Generic[O, S]):
    """Up to ``width`` samples of a batch at work, each with a state of its own.

    A sample's state must not depend on who is beside it, nor on when it comes in: keep its step
    in the state, and draw from ``keys.at(state.step)``.

    Attributes:
        rows: positions of the samples in flight in the whole batch, ``[A]``.
        objective, clean, keys, state: theirs, in the order of ``rows``.

    Args:
        objective, clean, keys: of the whole batch.
        begin: makes the states of the samples at ``rows`` as they come in.
        rows: who takes part, in the order in which they come in; everyone by default.
        width: how many may be in flight; 0 for all.

    Example:
        A search over a state with a field ``x``, whose samples stay until they are done::

            pool = Pool(objective, clean, keys, begin)
            while len(pool):
                done = step(pool)
                found[pool.rows[done]] = pool.state.x[done]
                pool.leave(done)
    """

    def __init__(
        self, objective: O, clean: Tensor, keys: Keys, begin: Callable[[Tensor], S], *,
        rows: Tensor | None = None, width: int = 0,
    ) -> None:  # fmt: skip
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


class Diary:
    """The trace of a batch while it is written, for samples that stand at different steps."""

    def __init__(self, clean: Tensor) -> None:
        blank = clean.new_full((len(clean),), float("nan"))
        self._first, self._middle, self._last = blank, blank.clone(), blank.clone()
        self._zero, self._bad, self._steps = (torch.zeros_like(blank) for _ in range(3))

    def note(
        self, rows: Tensor, loss: Tensor, gradient: Tensor | None = None, *,
        first: Tensor | None = None, early: Tensor | None = None,
    ) -> None:  # fmt: skip
        """Writes down one look at the samples ``rows``.

        Args:
            rows: their positions in the whole batch, ``[A]``.
            loss: ``[A]``.
            gradient: ``[A, ...]``; a look with a gradient counts as a step.
            first: for whom it is the first look, ``[A]`` bool; nobody by default.
            early: who is not past the middle of the search, ``[A]`` bool; nobody by default.
        """
        loss = loss.detach().to(self._last)
        self._last[rows] = loss
        if first is not None:
            self._first[rows[first]] = loss[first]
        if early is not None:
            self._middle[rows[early]] = loss[early]
        if gradient is not None:
            # Without a copy of the pixels: both are NaN where any pixel is.
            flat = gradient.flatten(1)
            peak = flat.amax(1).maximum(-flat.amin(1))
            self._steps[rows] += 1
            self._bad[rows] += (~peak.isfinite()).to(self._bad)
            self._zero[rows] += (peak == 0).to(self._zero)

    def trace(self) -> Trace:
        """What was written."""
        steps = self._steps.clamp_min(1)
        return Trace(
            first_loss=self._first, middle_loss=self._middle, last_loss=self._last,
            zero_gradient=self._zero / steps, bad_gradient=self._bad / steps, steps=self._steps,
        )  # fmt: skip
