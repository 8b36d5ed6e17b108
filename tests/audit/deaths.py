"""A process that dies at any of its operations on files, and what it has to come back to."""

from __future__ import annotations

import builtins
import json
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from secondlook import drafts
from secondlook.audit import store
from secondlook.schema import Audit

State = dict[str, Any]
_TIMED = ("seconds", "overhead", "peak_memory", "attack_seconds")


class Killed(BaseException):
    """Nothing catches it, and nothing on the way out can touch a file any more."""


class Mortal:
    """Counts operations on files, and dies at one of them.

    Args:
        at: the number of the operation, from 1 on; 0 lives on.
        half: of what is written at that moment, the first half is on the disk.
    """

    def __init__(self, at: int = 0, half: bool = False) -> None:
        self.at, self.half, self.count = at, half, 0

    def step(self) -> None:
        """Begins one more operation.

        Raises:
            Killed: it is the last one, or the process is dead already.
        """
        self.count += 1
        if self.at and self.count >= self.at:
            raise Killed

    def counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        """A function of the system that may be the last."""

        def call(*args: Any, **how: Any) -> Any:
            self.step()
            return real(*args, **how)

        return call

    def open(self, path: Path, mode: str = "r", **how: Any) -> Any:
        """A file whose writes may be the last."""
        if not set(mode) & set("awx"):
            return builtins.open(path, mode, **how)
        self.step()
        return _File(builtins.open(path, mode, **how), self)

    @contextmanager
    def living(self) -> Iterator[None]:
        """Within the block the store's operations are counted."""
        with ExitStack() as stack:
            for module in (store, drafts):
                stack.enter_context(mock.patch.object(module, "open", self.open, create=True))
            for name in ("replace", "truncate", "unlink"):
                stack.enter_context(mock.patch.object(os, name, self.counted(getattr(os, name))))
            yield


class _File:
    def __init__(self, file: Any, mortal: Mortal) -> None:
        self.file, self.mortal = file, mortal

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *how: object) -> None:
        self.file.close()

    def write(self, data: Any) -> int:
        try:
            self.mortal.step()
        except Killed:
            if self.mortal.half and self.mortal.count == self.mortal.at:
                self.file.write(bytes(data)[: len(data) // 2])
            raise
        written: int = self.file.write(data)
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def state(folder: Path, audit: Audit) -> State:
    """All of a run that has to be the same however it came about: records, figures, and counts of passes."""
    records: dict[tuple[str, str], Any] = {}
    for line in (folder / "records.jsonl").read_bytes().splitlines():
        record = json.loads(line)
        key = (record["cell"], record["sample"])
        assert records.setdefault(key, record) == record, key
    cells = [cell.model_dump(exclude={"ledger": set(_TIMED)}) for cell in audit.cells]
    return {"records": records, "cells": cells, "headline": [each.model_dump() for each in audit.headline]}
