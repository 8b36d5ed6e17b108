"""The count of what was spent: forwards, backwards, seconds and peak memory."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class Ledger:
    """Passes are counted per *sample*, by the model and never by the attack.

    Attributes:
        forwards: samples that went forward through a model.
        backwards: samples whose gradient came back to a model's input.
        seconds: wall clock inside :meth:`timed`.
        peak_memory: bytes; on CUDA the allocator's peak, else the peak of the process.
    """

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    peak_memory: int = 0
    by_model: dict[str, list[int]] = field(default_factory=dict)

    def forward(self, name: str, samples: int) -> None:
        """Counts ``samples`` forwards of the model ``name``."""
        self.forwards += samples
        self.by_model.setdefault(name, [0, 0])[0] += samples

    def backward(self, name: str, samples: int) -> None:
        """Counts ``samples`` backwards of the model ``name``."""
        self.backwards += samples
        self.by_model.setdefault(name, [0, 0])[1] += samples

    @contextmanager
    def timed(self) -> Iterator[Ledger]:
        """Adds the wall clock of the block and notes the peak of memory."""
        start = time.perf_counter()
        try:
            yield self
        finally:
            self.seconds += time.perf_counter() - start
            self.peak_memory = max(self.peak_memory, peak_memory())

    def spent(self, digits: int = 4) -> dict[str, float]:
        """Passes, seconds to so many digits, and peak memory, for a record."""
        return {
            "forwards": self.forwards,
            "backwards": self.backwards,
            "seconds": round(self.seconds, digits),
            "peak_memory": self.peak_memory,
        }

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


_open: list[Ledger] = []


class _CallbackLedger(Ledger):
    """A ledger that calls back with the forwards so far, each time that it counts."""

    def __init__(self, on_forward: Callable[[int], None]) -> None:
        super().__init__()
        self._on_forward = on_forward

    def forward(self, name: str, samples: int) -> None:
        super().forward(name, samples)
        self._on_forward(self.forwards)


@contextmanager
def counting(on_forward: Callable[[int], None] | None = None) -> Iterator[Ledger]:
    """Opens a ledger for the passes of the block; ledgers nest, and each one counts.

    Args:
        on_forward: called with the number of forwards so far at each of them.
    """
    ledger = Ledger() if on_forward is None else _CallbackLedger(on_forward)
    _open.append(ledger)
    try:
        with ledger.timed():
            yield ledger
    finally:
        _open.remove(ledger)


def by_turns(*acts: Callable[[], object], repeats: int = 3, seconds: float = 3.0) -> list[float]:
    """Median seconds of each act, run by turns, so that what else the machine does falls on all alike.

    Nothing of it is counted. The first turn, which warms up, is timed only where it is the last, too.

    Args:
        acts: what is timed.
        repeats: turns after the first one.
        seconds: an act, after which no further turn begins.
    """
    taken: list[list[float]] = []
    with uncounted():
        while len(taken) <= repeats and sum(map(sum, taken)) < seconds * len(acts):
            taken.append([_once(act) for act in acts])
    return [statistics.median(each) for each in zip(*(taken[1:] or taken), strict=True)]


def _once(act: Callable[[], object]) -> float:
    start = time.perf_counter()
    act()
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()
    return time.perf_counter() - start


@contextmanager
def uncounted() -> Iterator[None]:
    """Passes inside the block are in no ledger."""
    held, _open[:] = _open[:], []
    try:
        yield
    finally:
        _open[:] = held


def peak_memory() -> int:
    """Peak memory in bytes so far; 0 where the system does not report it."""
    if torch.cuda.is_initialized():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows has none
        return 0
    scale = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


class _Tally(torch.autograd.Function):
    """The identity; its backward counts."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, name: str) -> Tensor:
        ctx.name = name
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, None]:
        for ledger in _open:
            ledger.backward(ctx.name, len(grads[0]))
        return grads[0], None


def tally(name: str, x: Tensor) -> Tensor:
    """Counts a forward of ``x`` through the model ``name`` now, and its backward when it comes."""
    for ledger in _open:
        ledger.forward(name, len(x))
    if not (_open and x.requires_grad and torch.is_grad_enabled()):
        return x
    counted: Tensor = _Tally.apply(x, name)  # type: ignore[no-untyped-call]
    return counted
