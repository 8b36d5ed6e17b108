"""One process at a time on a run directory, and whoever comes second is told who was first."""

from __future__ import annotations

import json
import logging
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from secondlook.drafts import remove_drafts, write_atomic
from secondlook.errors import BrokenRun, refusal
from secondlook.progress import Tick

_log = logging.getLogger(__name__)


@contextmanager
def locked(folder: Path, command: str, tick: Tick, wait: bool = False) -> Iterator[None]:
    """Holds a run directory for the block; the system lets go of it when the process dies.

    Args:
        folder: the run directory; it is made.
        command: what whoever comes second is told.
        tick: called where it has to wait.
        wait: for the other process to end, instead of refusing.

    Raises:
        BrokenRun: another process has it, or it cannot be written to.
    """
    lock, owner = FileLock(folder / ".lock"), folder / ".owner.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _acquire(lock, folder, owner, tick, wait)
    except NotImplementedError:
        _log.warning("%s lies where nothing can be locked; see to it that no other process works there", folder)
        yield
        return
    except OSError as error:
        raise BrokenRun(f"cannot write {folder}: {refusal(error)}") from None
    try:
        remove_drafts(folder)
        write_atomic(owner, json.dumps(_own(command)).encode())
        yield
    finally:
        with suppress(OSError):
            owner.unlink()
        lock.release()


def _acquire(lock: FileLock, folder: Path, owner: Path, tick: Tick, wait: bool) -> None:
    try:
        lock.acquire(timeout=0)
    except Timeout:
        other = _told(owner)
        if not wait:
            raise BrokenRun(
                f"{folder} is in use by {other}; end that or let it end, have this one --wait, or name another --out"
            ) from None
        tick(0, 1, f"waiting for {other}")
        lock.acquire()


def _own(command: str) -> dict[str, object]:
    now = datetime.now(UTC).isoformat(" ", "seconds")
    return {"pid": os.getpid(), "host": platform.node(), "since": now, "command": command}


def _told(owner: Path) -> str:
    """Who has it; what a process that has just begun has not written yet is left away."""
    try:
        found = json.loads(owner.read_bytes())
        return f"process {found['pid']} on {found['host']} since {found['since']} ({found['command']})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
