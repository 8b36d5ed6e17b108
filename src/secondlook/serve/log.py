"""What was decided, line by line, each with the hash of the one before: a changed line breaks the chain. No pixels."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from secondlook.errors import InvalidInput, refusal

_FIRST = "0" * 64


class ChainedLog:
    """A file of JSON lines that is only appended to.

    Args:
        path: where it lies; one that is there is gone on with.

    Raises:
        InvalidInput: it cannot be written, or what is there is no whole chain.
    """

    def __init__(self, path: Path) -> None:
        self.path, self._lock = path, Lock()
        self._last = verify(path)[1] if path.exists() else _FIRST
        try:
            # "a" would follow a link that somebody has put there.
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0)
            self._file = os.open(path, flags, 0o600)
        except OSError as error:
            raise InvalidInput(f"the log {path} cannot be written: {refusal(error)}; name another by --log") from None

    def append(self, entry: Mapping[str, Any]) -> None:
        """Adds a line.

        Raises:
            OSError: it could not be written, and nothing of it is kept.
        """
        with self._lock:
            plain = {**entry, "previous": self._last}
            digest = _hash(plain)
            line = json.dumps({**plain, "hash": digest}, sort_keys=True).encode() + b"\n"
            before = os.lseek(self._file, 0, os.SEEK_END)
            try:
                written = os.write(self._file, line)
                if written < len(line):
                    raise OSError(28, os.strerror(28), str(self.path))
            except OSError:
                os.ftruncate(self._file, before)
                raise
            self._last = digest

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)


def verify(path: Path) -> tuple[int, str]:
    """How many lines a log has, and the hash of its last.

    Raises:
        InvalidInput: it cannot be read, or a line is not what was written; its number is told.
    """
    last, number = _FIRST, 0
    try:
        with open(path, "rb") as file:
            for number, line in enumerate(file, start=1):
                last = _checked(line, last, f"{path}, line {number}")
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read: {refusal(error)}") from None
    return number, last


def _checked(line: bytes, last: str, where: str) -> str:
    try:
        entry = json.loads(line)
        digest = entry.pop("hash")
    except (ValueError, KeyError, AttributeError, RecursionError):
        raise InvalidInput(f"{where} is no line of a log; the chain ends before it") from None
    if entry.get("previous") != last or _hash(entry) != digest:
        raise InvalidInput(f"{where} is not what was written there, or one before it is gone; the chain ends before it")
    return str(digest)


def _hash(entry: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(entry, sort_keys=True).encode()).hexdigest()
