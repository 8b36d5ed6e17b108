"""A progress bar with time left, fed by the plain callback that the library knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from secondlook.progress import Tick


@contextmanager
def progress(title: str) -> Iterator[Tick]:
    """Shows a bar on standard error; the callback takes what is done, of how much, and on what."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )  # fmt: skip

    columns = (
        SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(bar_width=24),
        MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=None)

        def tick(done: int, of: int, what: str) -> None:
            bar.update(task, completed=done, total=of, description=f"{title}: {what}")

        yield tick
