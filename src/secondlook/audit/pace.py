"""How long a run still takes: what its jobs were reckoned at, set right by what they have taken."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from secondlook.ledger import counting
from secondlook.progress import Tick


class Job(NamedTuple):
    """Something that a run has to do.

    Attributes:
        kind: jobs of one kind take alike long for their size: one row in each chunk.
        seconds: what it is reckoned at.
        forwards: of samples through models, at most; 0 where that is not known.
    """

    kind: str
    seconds: float
    forwards: int = 0


class Pace:
    """Tells a :data:`~secondlook.progress.Tick` of a run's jobs, in milliseconds: taken, and taken and left.

    A job is reckoned to take what others of its kind have taken for what they were reckoned at; of
    a kind that none was done of yet, what all together have.

    Args:
        tick: is told.
        jobs: all that is to be done.
        measured: whether their seconds were measured, and are believed before any job is done.
        clock: gives seconds.
    """

    def __init__(
        self, tick: Tick, jobs: Iterable[Job], measured: bool = False, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._tick, self._clock = tick, clock
        self._open: dict[str, list[Job]] = defaultdict(list)
        for job in jobs:
            self._open[job.kind].append(job)
        self._took: dict[str, float] = defaultdict(float)
        self._reckoned: dict[str, float] = defaultdict(float)
        self._before = 1.0 if measured else None
        self._began = clock()

    @contextmanager
    def doing(self, kind: str, what: str) -> Iterator[None]:
        """Within the block the next job of a kind is done; each of its forwards moves the progress on."""
        job = self._open[kind].pop(0) if self._open[kind] else Job(kind, 0.0)
        start = self._clock()

        def on_forward(forwards: int) -> None:
            of = f" of at most {job.forwards:,}" if job.forwards >= forwards else ""
            self._tell(f"{what}, {forwards:,}{of} forwards", job, start)

        self._tell(what, job, start)
        with counting(on_forward):
            yield
        self._took[kind] += self._clock() - start
        self._reckoned[kind] += job.seconds

    def _tell(self, what: str, job: Job, start: float) -> None:
        spent, left = self._clock() - self._began, self.left()
        if left is None:
            self._tick(0, 1, what)
            return
        left += max(job.seconds * (self._ratio(job.kind) or 0.0) - (self._clock() - start), 0.0)
        self._tick(round(1000 * spent), round(1000 * (spent + left)) or 1, what)

    def left(self) -> float | None:
        """Seconds that the jobs take that are not begun; None where nothing is known of any."""
        if self._ratio("") is None:
            return None
        return sum(sum(job.seconds for job in jobs) * (self._ratio(kind) or 0.0) for kind, jobs in self._open.items())

    def _ratio(self, kind: str) -> float | None:
        """What jobs of a kind take for what they are reckoned at."""
        if self._reckoned.get(kind):
            return self._took[kind] / self._reckoned[kind]
        reckoned = sum(self._reckoned.values())
        return sum(self._took.values()) / reckoned if reckoned else self._before
