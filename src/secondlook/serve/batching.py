"""Requests into small batches for one thread, with deadlines that hold and a queue that ends."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic, TypeVar

Given = TypeVar("Given")
Found = TypeVar("Found")

_MEMORY = 0.8
"""Of what a batch is known to take, what stays when another has been measured."""


class Shed(Exception):
    """The request would not be answered in its time, and is refused at once.

    Attributes:
        reason: ``queue`` where it is full, ``deadline`` where the wait is too long.
        after: seconds until it is worth another try.
    """

    def __init__(self, reason: str, after: float) -> None:
        super().__init__(reason)
        self.reason, self.after = reason, after


class Late(Exception):
    """The deadline of a request has passed."""


@dataclass
class _Waiting(Generic[Given, Found]):
    given: Given
    until: float
    since: float
    answer: asyncio.Future[Found]


@dataclass
class Batcher(Generic[Given, Found]):
    """Runs ``work`` on up to ``size`` requests together, in a thread of its own.

    A batch waits ``linger`` seconds from its first request on. Whoever waits for an answer waits for a future and never
    for the thread, so that a call that hangs makes its own requests late and stops no loop.

    Attributes:
        work: what is done with the requests of a batch; as many answers, in their order.
        size: requests of a batch at most.
        linger: seconds that a batch waits for more.
        room: requests that may wait.
        observe: told of each batch: how many requests, and how long each had waited.
    """

    work: Callable[[list[Given]], Sequence[Found]]
    size: int = 16
    linger: float = 0.005
    room: int = 64
    observe: Callable[[int, list[float]], None] = lambda count, waits: None
    _queue: deque[_Waiting[Given, Found]] = field(default_factory=deque, init=False)
    _took: float = field(default=0.0, init=False)
    _busy_since: float | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="secondlook-infer")
        self._some = asyncio.Event()

    @property
    def depth(self) -> int:
        """Requests that wait."""
        return len(self._queue)

    @property
    def wait(self) -> float:
        """The seconds that a request would wait for its answer, by what batches have taken."""
        if self._busy_since is None:
            return self._took * (1 + self.depth // self.size)
        so_far = monotonic() - self._busy_since
        left = self._took - so_far if so_far < self._took else so_far
        return left + self._took * (1 + self.depth // self.size)

    async def ask(self, given: Given, until: float) -> Found:
        """The answer to a request, by ``until`` on the monotonic clock.

        Raises:
            Shed: there is no room, or it would be late.
            Late: it is.
        """
        now = monotonic()
        if self.depth >= self.room:
            raise Shed("queue", self.wait)
        # Where nobody waits and nothing runs, an old measurement refuses nobody: a new one is made.
        if (self.depth or self._busy_since is not None) and now + self.wait > until:
            raise Shed("deadline", self.wait)
        answer: asyncio.Future[Found] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(given, until, now, answer))
        self._some.set()
        try:
            return await asyncio.wait_for(answer, until - now)
        except TimeoutError:
            raise Late from None

    async def run(self) -> None:
        """Makes batches until it is cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self._some.wait()
            await self._more()
            batch = self._next()
            if not batch:
                continue
            begun = self._busy_since = monotonic()
            self.observe(len(batch), [begun - each.since for each in batch])
            try:
                found = await loop.run_in_executor(self._thread, self.work, [each.given for each in batch])
                _hand_out(batch, found)
            # Whatever the model raises is the answer to these requests, and to no others.
            except Exception as error:
                _fail(batch, error)
            finally:
                self._busy_since, took = None, monotonic() - begun
                self._took = took if not self._took else _MEMORY * self._took + (1 - _MEMORY) * took

    async def _more(self) -> None:
        """Waits until a batch is full, or its first request has waited long enough."""
        while self._queue and self.depth < self.size:
            left = self._queue[0].since + self.linger - monotonic()
            if left <= 0:
                return
            await asyncio.sleep(left)

    def _next(self) -> list[_Waiting[Given, Found]]:
        """The requests of the next batch; who is late or gone is left out."""
        batch: list[_Waiting[Given, Found]] = []
        while self._queue and len(batch) < self.size:
            each = self._queue.popleft()
            if not each.answer.done() and each.until > monotonic():
                batch.append(each)
        if not self._queue:
            self._some.clear()
        return batch

    def close(self) -> None:
        """Lets go of the thread, without waiting for what it does."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _hand_out(batch: Sequence[_Waiting[Given, Found]], found: Sequence[Found]) -> None:
    for each, answer in zip(batch, found, strict=True):
        if not each.answer.done():
            each.answer.set_result(answer)


def _fail(batch: Sequence[_Waiting[Given, Found]], error: Exception) -> None:
    for each in batch:
        if not each.answer.done():
            each.answer.set_exception(error)
