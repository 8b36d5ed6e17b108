"""Progress of long work: a plain callback for the library, and a bar, or lines of a log, after two seconds.

A long function takes a :data:`Tick` and calls it; who calls the function decides whether a bar,
a log or nothing listens. :func:`progress` makes the bar, in a terminal and in a notebook.
"""

from __future__ import annotations

import re
import threading
import time
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
BEAT = 30.0
"""Seconds after which a log that nothing was added to says that work goes on."""
_APART = 1 / 15
"""Of ``BEAT``: what two lines on steps of one kind are apart."""
_EARLY = 0.02
"""The share of the work before which nothing is said of what is left."""


def silent(done: int, total: int, what: str) -> None:
    """A :data:`Tick` that shows nothing."""


class Bar:
    """A progress bar on standard error, called with what is done; a context manager.

    Where standard error is neither a terminal nor a notebook it writes plain lines if asked for, and
    else nothing; and nothing for work that ends within ``delay`` seconds.

    Args:
        title: what the work is.
        total: steps in all; None where that is not known yet.
        show: whether it is ever shown.
        delay: seconds before it is shown.
        lines: whether a log, which has no bar, gets a line when something else is begun, and every
            ``beat`` seconds.
        beat: see ``lines``.
        timed: whether what is done and of how much is told in milliseconds, so that what is left is known.
    """

    def __init__(
        self,
        title: str,
        total: int | None = None,
        *,
        show: bool = True,
        delay: float = DELAY,
        lines: bool = False,
        beat: float = BEAT,
        timed: bool = False,
    ) -> None:
        self.title, self.done, self.total, self.what = title, 0, total, ""
        self._lines, self._beat, self._timed = lines, beat, timed
        self._began = self._first_at = time.monotonic()
        self._first = 0
        self._log: _Log | None = None
        self._lock, self._ended = threading.Lock(), False
        self._shown: Progress | None = None
        self._timer = threading.Timer(delay, self._start) if show else None

    def __call__(self, done: int, total: int | None = None, what: str = "") -> None:
        """Notes how much is done, of how much, and what is being done."""
        if total not in (None, self.total) and not self._timed:
            # Work that goes on where it stopped has not done in this time what was done before.
            self._first, self._first_at = done, time.monotonic()
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
            if self._log is not None:
                self._log.stop()

    def _start(self) -> None:
        """Shows the bar; called by the timer's thread."""
        shown = _rich_bar(self.title, self._timed)
        with self._lock:
            if self._ended:
                return
            if shown is not None:
                self._shown = shown
                shown.start()
            elif self._lines:
                self._log = _Log(self, self._beat)
        self._update()

    def write_line(self, text: str) -> None:
        """A line on standard error, above the bar where one is shown."""
        from secondlook.terminal import Terminal

        console = self._shown.console if self._shown else Terminal(stderr=True, soft_wrap=True)
        console.print(text, markup=False, highlight=False, emoji=False)

    def line(self) -> str:
        """Where the work stands, as a line of a log."""
        said = f"{self.title}: {self.what}" if self.what else self.title
        spent, left = span(time.monotonic() - self._began), self.left()
        parts = [self.share(), spent, f"about {span(left)} left" if left is not None else ""]
        return f"{said} ({', '.join(filter(None, parts))})"

    def share(self) -> str:
        """How much is done, in words; empty where it is not known of how much."""
        if not self.total:
            return ""
        return f"{self.done / self.total:.0%} done" if self._timed else f"{self.done} of {self.total} done"

    def left(self) -> float | None:
        """Seconds that the work still takes, reckoned from what is done; None where little is."""
        share = self.done / self.total if self.total else 0.0
        if not _EARLY <= share < 1 or not self.total:
            return None
        if self._timed:
            return (self.total - self.done) / 1000
        since = self.done - self._first
        return (time.monotonic() - self._first_at) / since * (self.total - self.done) if since > 0 else None

    def _update(self) -> None:
        if self._log is not None:
            self._log.note()
        if self._shown is not None:
            text = f"{self.title}: {self.what}" if self.what else self.title
            left = self.left()
            self._shown.update(
                self._shown.task_ids[0],
                completed=self.done,
                total=self.total,
                description=text,
                left=f"about {span(left)} left" if left is not None else "",
            )


class _Log:
    """Writes the line of a bar to standard error: when something else is begun, and after each ``beat`` seconds."""

    def __init__(self, bar: Bar, beat: float) -> None:
        self.bar, self.beat = bar, beat
        self._lock, self._at, self._begun, self._done = threading.Lock(), 0.0, "", -1
        self._stopped = threading.Event()
        threading.Thread(target=self._go_on, daemon=True).start()

    def note(self) -> None:
        """Writes a line if something else is done than in the last one; short steps alike share one."""
        kind, done = re.sub(r"(, [\d,]+( of at most [\d,]+)? forwards$)|\d[\d.,]*", "", self.bar.what), self.bar.done
        far = done != self._done and time.monotonic() - self._at >= _APART * self.beat
        if kind != self._begun or far:
            self._begun, self._done = kind, done
            self._write()

    def stop(self) -> None:
        """Ends it; nothing is written afterwards."""
        self._stopped.set()

    def _go_on(self) -> None:
        while not self._stopped.wait(max(0.01, self._at + self.beat - time.monotonic()) if self._at else self.beat):
            if time.monotonic() - self._at >= self.beat:
                self._write()

    def _write(self) -> None:
        from secondlook.terminal import Terminal

        with self._lock:
            self._at = time.monotonic()
            Terminal(stderr=True, soft_wrap=True, markup=False, highlight=False, emoji=False).print(self.bar.line())


def span(seconds: float) -> str:
    """A span of time as it is told.

    Example:
        >>> span(42.3), span(200), span(9000)
        ('42 s', '3.3 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 600 else f"{seconds / 60:.1f} min"


def _rich_bar(title: str, timed: bool) -> Progress | None:
    """A bar that goes away when it ends; None where standard error is no terminal."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    from secondlook.terminal import Terminal

    console = Terminal(stderr=True)
    if not (console.is_interactive or console.is_jupyter):
        return None
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TaskProgressColumn() if timed else MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}", markup=False),
    )
    shown = Progress(*columns, console=console, transient=True)
    shown.add_task(title, total=None, left="")
    return shown


def progress(
    title: str,
    total: int | None = None,
    *,
    show: bool = True,
    delay: float = DELAY,
    lines: bool = False,
    timed: bool = False,
) -> Bar:
    """A :class:`Bar` for the block of a ``with``; it may be handed on as a :data:`Tick`.

    Example:
        >>> with progress("attacking", 2) as tick:
        ...     tick(1)
        ...     tick(2, what="the last batch")
        >>> tick.done, tick.total
        (2, 2)
    """
    return Bar(title, total, show=show, delay=delay, lines=lines, timed=timed)


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
