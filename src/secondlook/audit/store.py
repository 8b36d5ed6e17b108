"""The run directory: append-only records, stored adversarials, and what a kill leaves intact."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple
from zlib import crc32

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from secondlook import registry
from secondlook.audit.written import Head, fits, is_line
from secondlook.drafts import leads_out, write_atomic
from secondlook.errors import BrokenRun, refusal

Record = dict[str, Any]
_TAIL: Final = 1 << 16
_LOST_HEAD: Final = "start the same study with another --out, and copy the run.json from there to keep the records"
_AGAIN: Final = "delete the line, and the same command computes it again"
_SEAL: Final = "check"
_DIGEST: Final = "digest"


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turns what the system refuses within the block into a sentence about ``path``.

    Raises:
        BrokenRun: it cannot be read, or is a pipe or a device, which might never end.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise BrokenRun(f"cannot read {path}: it is a pipe or a device and no file; move it away")
        yield
    except OSError as error:
        raise BrokenRun(f"cannot read {path}: {refusal(error)}") from None


def checksum(record: Record) -> int:
    """What tells a record from what a damaged disk makes of it.

    Example:
        >>> checksum({"a": 1.5, "b": "x"}) == checksum({"b": "x", "a": 1.5}) != checksum({"a": 1.25, "b": "x"})
        True
    """
    return crc32(json.dumps(record, sort_keys=True).encode())


class Log:
    """A JSONL file that only grows; a torn last line is passed over, and cut off before the next is written."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, records: Iterable[Record]) -> None:
        """Adds all records in one write, and waits until they are on disk.

        Raises:
            BrokenRun: the disk is full, say; what half was written is cut off again.
        """
        lines = self._written(records)
        if not lines:
            return
        size: int | None = None
        try:
            size = self._mended()
            with open(self.path, "ab", buffering=0) as file:
                rest = memoryview(lines)
                while rest:
                    rest = rest[file.write(rest) :]
                os.fsync(file.fileno())
        except OSError as error:
            if size is not None:
                with suppress(OSError):
                    os.truncate(self.path, size)
            raise BrokenRun(f"cannot write {self.path}: {refusal(error)}") from None

    def replace(self, records: Iterable[Record]) -> None:
        """Writes all records in place of those that are there, in one move.

        Raises:
            BrokenRun: the disk is full, say.
        """
        lines = self._written(records)
        if lines or self.path.exists():
            write_atomic(self.path, lines)

    def trim(self) -> None:
        """Cuts off a torn last line.

        Raises:
            BrokenRun: it is no file, or cannot be written.
        """
        with reading(self.path):
            self._mended()

    def _written(self, records: Iterable[Record]) -> bytes:
        lines = (json.dumps(each, ensure_ascii=False, allow_nan=False) + "\n" for each in self._sealed(records))
        # Half of a surrogate pair is in no encoding, and JSON has an escape for it.
        return "".join(lines).encode("utf-8", "backslashreplace")

    def _mended(self) -> int:
        """Cuts off what a kill in the middle of a write has left; the bytes that stay."""
        if not self.path.exists():
            return 0
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
        return whole

    def __iter__(self) -> Iterator[Record]:
        """All records, in the order they were written.

        Raises:
            BrokenRun: a line is no record, or the file cannot be read.
        """
        return (record for _, record in self.numbered())

    def numbered(self) -> Iterator[tuple[int, Record]]:
        """The same, each with the number of its line, from 1 on."""
        with reading(self.path):
            if not self.path.exists():
                return
            with open(self.path, "rb") as file:
                for number, line in enumerate(file, start=1):
                    if line.endswith(b"\n"):
                        yield number, self._read(number, line)

    def broken(self, number: int, why: str) -> BrokenRun:
        """The error of a line that is not what was written."""
        return BrokenRun(f"{self.path}, line {number}, {why}; {_AGAIN}")

    def _read(self, number: int, line: bytes) -> Record:
        try:
            record = json.loads(line, parse_constant=_no_number)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict) or not self._fits(record):
            raise self.broken(number, "is no record")
        return record

    def _fits(self, record: Record) -> bool:
        """Whether a JSON object is a record of this file."""
        return True

    def _sealed(self, records: Iterable[Record]) -> Iterable[Record]:
        """The records as they are written."""
        return records


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON")


class Records(Log):
    """``records.jsonl``: what came of each sample of each row."""

    def _fits(self, record: Record) -> bool:
        return isinstance(record.get("cell"), str) and isinstance(record.get("sample"), str)


class Ledger(Log):
    """``ledger.jsonl``: costs, and what was looked at; each line with a checksum of its own."""

    def _sealed(self, records: Iterable[Record]) -> Iterable[Record]:
        # Once written and read again, a tuple is a list.
        plain = (json.loads(json.dumps(record)) for record in records)
        return [{**record, _SEAL: checksum(record)} for record in plain]

    def numbered(self) -> Iterator[tuple[int, Record]]:
        """The lines that are as they were written, without their checksums.

        Raises:
            BrokenRun: a line is another than was written, or nothing that a run writes.
        """
        for number, record in super().numbered():
            seal = record.pop(_SEAL, None)
            if seal != checksum(record) or not is_line(record):
                raise self.broken(number, "is not what was written there")
            yield number, record


class Run:
    """One run directory.

    Args:
        folder: where it lies.
        parts: the ranges of samples that it was computed in; see :func:`~secondlook.audit.plan.partition`.
    """

    def __init__(self, folder: Path, parts: int = 1) -> None:
        self.folder, self.parts = folder, parts
        self.records = Records(folder / "records.jsonl")
        self.ledger = Ledger(folder / "ledger.jsonl")

    @classmethod
    def open(cls, folder: Path, identity: Record) -> Run:
        """Starts a run, or goes on with the one that is there.

        Raises:
            BrokenRun: another version, study or shard wrote what is there, or a link in it leads
                out of it.
        """
        refuse_links(folder)
        head = folder / "run.json"
        with reading(head):
            fresh = not head.exists()
            if fresh and folder.exists() and any(folder.glob("*.jsonl")):
                raise BrokenRun(f"{folder} holds records but no run.json; {_LOST_HEAD}")
        if fresh:
            plain = json.loads(json.dumps(identity, default=str))
            write_atomic(head, json.dumps({**plain, _SEAL: checksum(plain)}, indent=2).encode())
            return cls(folder, identity.get("parts", 1))
        before = read_head(folder)
        for key in ("version", "config_hash", "shard"):
            if before.get(key) != identity.get(key):
                raise BrokenRun(
                    f"{folder} was written with {key} {before.get(key)}, this is {identity.get(key)}; "
                    "choose another --out"
                )
        run = cls(folder, before.get("parts", 1))
        for log in (run.records, run.ledger):
            log.trim()
        return run

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


def read_head(folder: Path) -> Record:
    """The ``run.json`` of a run.

    Raises:
        BrokenRun: it is no JSON, or was edited: its study is another than its hash says.
    """
    head = folder / "run.json"
    try:
        found = read_json(head)
    except BrokenRun as error:
        raise (BrokenRun(f"{head} is no JSON; {_LOST_HEAD}") if "is no JSON" in str(error) else error) from None
    if "study" in found and registry.digest(found["study"]) != found.get("config_hash"):
        raise BrokenRun(
            f"{head} was edited or is damaged: its study is not the one of its config_hash "
            f"{found.get('config_hash')}; {_LOST_HEAD}"
        )
    if found.pop(_SEAL, None) != checksum(found) or not fits(Head, found):
        raise BrokenRun(f"{head} was edited or is damaged: it is not what was written; {_LOST_HEAD}")
    return found


def read_json(path: Path) -> Record:
    """A JSON file of a run.

    Raises:
        BrokenRun: it is missing, half-written, or cannot be read.
    """
    try:
        with reading(path):
            content = json.loads(path.read_bytes())
    except BrokenRun:
        if path.parent.is_dir() and path.exists():
            raise
        raise BrokenRun(f"{path} is missing; run `secondlook audit` to the end first") from None
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict):
        raise BrokenRun(f"{path} is no JSON; run `secondlook audit` again, which writes it anew")
    return content


def save_tensors(path: Path, tensors: dict[str, Tensor], about: Record) -> None:
    """Stores tensors with their provenance and a digest of both, in one move."""
    metadata = {key: json.dumps(value, default=str) for key, value in about.items()}
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    write_atomic(path, save(plain, {**metadata, _DIGEST: _digest(plain, metadata)}))


class StoredTensors(NamedTuple):
    """What lies in a file of tensors.

    Attributes:
        tensors: by name.
        about: their provenance.
        digest: of both.
    """

    tensors: dict[str, Tensor]
    about: Record
    digest: str


def load_tensors(path: Path) -> StoredTensors | None:
    """What :func:`save_tensors` stored; None where there is nothing, or not what was stored.

    Raises:
        BrokenRun: there is a file, and it cannot be read.
    """
    with reading(path):
        if not path.exists():
            return None
        content = path.read_bytes()
    try:
        tensors, metadata = load(content), _metadata(content)
    except (SafetensorError, ValueError, RecursionError):
        return None
    digest = metadata.pop(_DIGEST, "")
    if digest != _digest(tensors, metadata):
        return None
    return StoredTensors(tensors, {key: json.loads(value) for key, value in metadata.items()}, digest)


def digest_of(path: Path) -> str | None:
    """The digest of what :func:`save_tensors` stored; None where that is not what is there."""
    stored = load_tensors(path)
    return stored.digest if stored else None


def _metadata(content: bytes) -> dict[str, str]:
    """The texts that a file of tensors carries in its head."""
    size = int.from_bytes(content[:8], "little")
    found = json.loads(content[8 : 8 + size]).get("__metadata__", {})
    if not isinstance(found, dict):
        raise ValueError("no metadata")
    return found


def _digest(tensors: dict[str, Tensor], metadata: dict[str, str]) -> str:
    held = hashlib.blake2b(json.dumps(metadata, sort_keys=True).encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        held.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        held.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return held.hexdigest()
