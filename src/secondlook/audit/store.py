"""The run directory: append-only records, stored adversarials, and what a kill leaves intact."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from secondlook.drafts import leads_out, write_whole
from secondlook.errors import BrokenRun

Record = dict[str, Any]
_TAIL = 1 << 16
_LOST_HEAD = "start the same study with another --out, and copy the run.json from there to keep the records"


def write_atomic(path: Path, content: bytes) -> None:
    """Writes a file in one move: a kill or a full disk leaves the old one or the new one.

    Raises:
        BrokenRun: the file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise BrokenRun(_unwritable(path, error)) from None


def _unwritable(path: Path, error: OSError) -> str:
    return f"cannot write {path}: {error.strerror}; finished records are safe, make room and run the same command again"


class Log:
    """A JSONL file that only grows; a torn last line is cut off when it is opened again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if path.exists():
            self._mend()

    def _mend(self) -> None:
        """Cuts off what a kill in the middle of a write has left behind the last whole line."""
        size = start = self.path.stat().st_size
        tail = b""
        with open(self.path, "rb") as file:
            while start and b"\n" not in tail:
                start = max(start - _TAIL, 0)
                file.seek(start)
                tail = file.read(size - start)
        whole = start + tail.rfind(b"\n") + 1
        if whole < size:
            os.truncate(self.path, whole)

    def append(self, records: Iterable[Record]) -> None:
        """Adds all records in one write, and waits until they are on disk.

        Raises:
            BrokenRun: the disk is full, say; what half was written is cut off again.
        """
        lines = "".join(json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n" for record in records)
        size = self.path.stat().st_size if self.path.exists() else 0
        try:
            with open(self.path, "ab", buffering=0) as file:
                rest = memoryview(lines.encode())
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
        except OSError as error:
            if self.path.exists():
                os.truncate(self.path, size)
            raise BrokenRun(_unwritable(self.path, error)) from None

    def __iter__(self) -> Iterator[Record]:
        """All records, in the order they were written.

        Raises:
            BrokenRun: a line is no record.
        """
        if not self.path.exists():
            return
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, start=1):
                try:
                    yield json.loads(line)
                except ValueError:
                    raise BrokenRun(
                        f"{self.path}, line {number}, is no record; delete the line, "
                        "and the same command computes it again"
                    ) from None


class Run:
    """One run directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.records = Log(folder / "records.jsonl")
        self.ledger = Log(folder / "ledger.jsonl")

    @classmethod
    def open(cls, folder: Path, identity: Record) -> Run:
        """Starts a run, or goes on with the one that is there.

        Raises:
            BrokenRun: another version or another study wrote what is there, or a link in it leads
                out of it.
        """
        refuse_links(folder)
        head = folder / "run.json"
        if not head.exists():
            if folder.exists() and any(folder.glob("*.jsonl")):
                raise BrokenRun(f"{folder} holds records but no run.json; {_LOST_HEAD}")
            write_atomic(head, json.dumps(identity, indent=2, default=str).encode())
            return cls(folder)
        try:
            before = read_json(head)
        except BrokenRun:
            raise BrokenRun(f"{head} is no JSON; {_LOST_HEAD}") from None
        for key in ("version", "config_hash"):
            if before.get(key) != identity[key]:
                raise BrokenRun(
                    f"{folder} was written with {key} {before.get(key)}, this is {identity[key]}; "
                    "choose another --out, or delete that folder"
                )
        return cls(folder)

    def adversarial(self, spec: str, chunk: int) -> Path:
        """Where the adversarials of an attack spec for one chunk lie."""
        return self.folder / "adversarial" / spec / f"{chunk:05d}.safetensors"


def refuse_links(folder: Path) -> None:
    """Refuses a run directory with a link that leads out of it: nothing is read or written there.

    Raises:
        BrokenRun: there is such a link.
    """
    if (link := leads_out(folder)) is not None:
        raise BrokenRun(f"{link} is a link that leads out of {folder}; put the file itself there, or delete the link")


def read_json(path: Path) -> Record:
    """A JSON file of a run.

    Raises:
        BrokenRun: it is missing or half-written.
    """
    try:
        content = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise BrokenRun(f"{path} is missing; run `secondlook audit` to the end first") from None
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise BrokenRun(f"{path} is no JSON; delete it and run the same command again")
    return content


def save_tensors(path: Path, tensors: dict[str, Tensor], about: Record) -> None:
    """Stores tensors with their provenance, in one move."""
    metadata = {key: json.dumps(value, default=str) for key, value in about.items()}
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_atomic(path, save(plain, metadata))


def load_tensors(path: Path) -> tuple[dict[str, Tensor], Record] | None:
    """What :func:`save_tensors` stored; None where there is nothing, or nothing whole."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "pt") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
            about = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
    except (SafetensorError, json.JSONDecodeError):
        return None
    return tensors, about
