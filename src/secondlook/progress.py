"""Progress of long work: a plain callback for the library, and a bar that shows after two seconds.

A long function takes a :data:`Tick` and calls it; who calls the function decides whether a bar,
a log or nothing listens. :func:`progress` makes the bar, in a terminal and in a notebook.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sized
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

T = TypeVar("T")
Tick = Callable[[int, int, str], None]
"""Takes how much is done, of how much, and what is being done."""

DELAY = 2.0
"""Seconds that work takes before its bar is shown."""


def silent(done: int, total: int, what: str) -> None:
    """A :data:`Tick` that shows nothing."""


class Bar:
    """A progress bar on standard error, called with what is done; a context manager.

    It draws nothing where standard error is neither a terminal nor a notebook, and nothing for
    work that ends within ``delay`` seconds.

    Args:
        title: what the work is.
        total: steps in all; None where that is not known yet.
        show: whether it is ever shown.
        delay: seconds before it is shown.
    """

    def __init__(self, title: str, total: int | None = None, *, show: bool = True, delay: float = DELAY) -> None:
        self.title, self.done, self.total, self.what = title, 0, total, ""
        self._lock, self._ended = threading.Lock(), False
        self._shown: Progress | None = None
        self._timer = threading.Timer(delay, self._start) if show else None

    def __call__(self, done: int, total: int | None = None, what: str = "") -> None:
        """Notes how much is done, of how much, and what is being done."""
        self.done, self.what = done, what
        self.total = self.total if total is None else total
        self._update()

    def __enter__(self) -> Self:
        if self._timer is not None:
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
        with self._lock:
            self._ended = True
            if self._shown is not None:
                self._shown.stop()

    def _start(self) -> None:
        """Shows the bar; called by the timer's thread."""
        shown = _rich_bar(self.title)
        with self._lock:
            if self._ended or shown is None:
                return
            self._shown = shown
            shown.start()
        self._update()

    def _update(self) -> None:
        if self._shown is not None:
            text = f"{self.title}: {self.what}" if self.what else self.title
            self._shown.update(self._shown.task_ids[0], completed=self.done, total=self.total, description=text)


def _rich_bar(title: str) -> Progress | None:
    """A bar that goes away when it ends; None where standard error is no terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    from secondlook.terminal import Terminal

    console = Terminal(stderr=True)
    if not (console.is_interactive or console.is_jupyter):
        return None
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    shown = Progress(*columns, console=console, transient=True)
    shown.add_task(title, total=None)
    return shown


def progress(title: str, total: int | None = None, *, show: bool = True, delay: float = DELAY) -> Bar:
    """A :class:`Bar` for the block of a ``with``; it may be handed on as a :data:`Tick`.

    Example:
        >>> with progress("attacking", 2) as tick:
        ...     tick(1)
        ...     tick(2, what="the last batch")
        >>> tick.done, tick.total
        (2, 2)
    """
    return Bar(title, total, show=show, delay=delay)


def track(items: Iterable[T], title: str, total: int | None = None, *, show: bool = True) -> Iterator[T]:
    """The items one by one, with a bar of how many are done.

    Args:
        items: what is worked through.
        title: what the work is.
        total: how many items; None takes their length, where they have one.
        show: whether the bar is ever shown.

    Example:
        >>> list(track("abc", "spelling"))
        ['a', 'b', 'c']
    """
    length = len(items) if total is None and isinstance(items, Sized) else total
    with progress(title, length, show=show) as tick:
        for done, item in enumerate(items, start=1):
            yield item
            tick(done)
