"""What can happen to a run directory while nobody looks: 85 damages, each of which changes something."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from secondlook.audit.store import load_tensors, save_tensors

Damage = Callable[[Path], None]
_RECORDS, _LEDGER, _HEAD, _AUDIT = "records.jsonl", "ledger.jsonl", "run.json", "audit.json"


def _lines(name: str, change: Callable[[list[bytes]], list[bytes]]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return damage


def _fields(name: str, at: int, change: Callable[[dict[str, Any]], Any]) -> Damage:
    """Changes one line, which is JSON after that, too."""

    def edited(lines: list[bytes]) -> list[bytes]:
        found = json.loads(lines[at])
        changed = change(found)
        lines[at] = json.dumps(found if changed is None else changed).encode() + b"\n"
        return lines

    return _lines(name, edited)


def _bytes(name: str, change: Callable[[bytes], bytes]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return damage


def _head(**changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / _HEAD
        path.write_text(json.dumps({**json.loads(path.read_bytes()), **changes}))

    return damage


def _stored(folder: Path) -> list[Path]:
    return sorted((folder / "adversarial").rglob("*.safetensors"))


def _file(at: int, change: Callable[[bytes], bytes]) -> Damage:
    def damage(folder: Path) -> None:
        path = _stored(folder)[at]
        path.write_bytes(change(path.read_bytes()))

    return damage


def _flip(at: float) -> Callable[[bytes], bytes]:
    def flipped(content: bytes) -> bytes:
        place = int(at * (len(content) - 1))
        return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]

    return flipped


def _swap(folder: Path) -> None:
    one, other = _stored(folder)[:2]
    first = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(first)


def _copied(folder: Path) -> None:
    one, other = _stored(folder)[:2]
    other.write_bytes(one.read_bytes())


def _number(record: dict[str, Any]) -> None:
    """A figure of a record is another figure of the same kind."""
    record["original_top1"] = 1.0 - record["original_top1"]


def _study(folder: Path) -> None:
    path = folder / _HEAD
    head = json.loads(path.read_bytes())
    head["study"]["seed"] += 1
    path.write_text(json.dumps(head))


def _costs(key: str, value: Any) -> Damage:
    def cheaper(lines: list[bytes]) -> list[bytes]:
        at = next(n for n, line in enumerate(lines) if b'"decide"' in line)
        found = json.loads(lines[at])
        found["decide"][key] = value
        lines[at] = json.dumps(found).encode() + b"\n"
        return lines

    return _lines(_LEDGER, cheaper)


def _without(name: str, word: bytes) -> Damage:
    return _lines(name, lambda lines: [line for line in lines if word not in line])


def _again(record: dict[str, Any]) -> dict[str, Any]:
    """Half of it under another figure."""
    return {**record, "original_top1": 1.0 - record["original_top1"]}


def _renamed(folder: Path) -> None:
    path = _stored(folder)[0]
    path.rename(path.with_name("00077.safetensors"))


def _another_in_the_set(folder: Path) -> None:
    path = _stored(folder)[0]
    path.with_name("00077.safetensors").write_bytes(path.read_bytes())


def _of_another_size(folder: Path) -> None:
    """Pictures of one pixel, in a file that is sound."""
    path = _stored(folder)[0]
    held = load_tensors(path)
    assert held is not None
    tensors, about, _ = held
    save_tensors(path, {**tensors, "images": tensors["images"][:, :, :1, :1].contiguous()}, about)


def _sums(lines: list[bytes]) -> list[bytes]:
    """A line of costs has the checksums of another's records."""
    found = [json.loads(line) for line in lines]
    at = [n for n, line in enumerate(found) if "sums" in line]
    found[at[0]]["sums"] = found[at[-1]]["sums"]
    return [json.dumps(line).encode() + b"\n" for line in found]


def _link(name: str, to: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        (folder / name).symlink_to(to)

    return damage


def _figure(folder: Path) -> None:
    """A figure of the result is another one."""
    result = json.loads((folder / _AUDIT).read_bytes())
    result["cells"][0]["n"] = 1_000_000
    (folder / _AUDIT).write_text(json.dumps(result))


def _as_folder(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).mkdir()
        (folder / name / "more").write_text("of something else")

    return damage


def _as_pipe(name: str) -> Damage:
    def damage(folder: Path) -> None:
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return damage


def _stored_as_folder(folder: Path) -> None:
    path = _stored(folder)[0]
    path.unlink()
    path.mkdir()


def _stored_as_file(folder: Path) -> None:
    place = _stored(folder)[0].parent
    shutil.rmtree(place)
    place.write_text("of something else")


def _drafts(folder: Path) -> None:
    """What a kill has left, and what calls itself so."""
    (folder / ".0123456789abcdef.part").write_bytes(b"half of it")
    (folder / "adversarial" / ".f.part").mkdir()
    (folder / ".g.part").symlink_to(folder / _RECORDS)


DAMAGES: dict[str, Damage] = {
    "no records": lambda folder: (folder / _RECORDS).unlink(),
    "empty records": _bytes(_RECORDS, lambda held: b""),
    "torn record": _bytes(_RECORDS, lambda held: held[:-9]),
    "half of the records": _bytes(_RECORDS, lambda held: held[: len(held) // 2]),
    "first record lost": _lines(_RECORDS, lambda lines: lines[1:]),
    "record in the middle lost": _lines(_RECORDS, lambda lines: lines[:2] + lines[3:]),
    "records twice": _lines(_RECORDS, lambda lines: lines * 2),
    "records in another order": _lines(_RECORDS, lambda lines: lines[::-1]),
    "record of zeros": _lines(_RECORDS, lambda lines: [b"\0" * 40 + b"\n", *lines[1:]]),
    "record that is {}": _lines(_RECORDS, lambda lines: [b"{}\n", *lines]),
    "record that is 5": _lines(_RECORDS, lambda lines: [lines[0], b"5\n", *lines[1:]]),
    "record that is null": _lines(_RECORDS, lambda lines: [*lines, b"null\n"]),
    "record that is a list": _lines(_RECORDS, lambda lines: [*lines, b"[1, 2]\n"]),
    "record that is a text": _lines(_RECORDS, lambda lines: [*lines, b'"x"\n']),
    "record with NaN": _fields(_RECORDS, 1, lambda record: record.update(success=float("nan"))),
    "record with a text for a number": _fields(_RECORDS, 1, lambda record: record.update(original_top1="high")),
    "record with null for a number": _fields(_RECORDS, 0, lambda record: record.update(original_top1=None)),
    "record without a number": _fields(_RECORDS, 0, lambda record: record.pop("original_top1") and None),
    "record with another outcome": _fields(_RECORDS, 0, lambda record: record.update(outcome="sleepy")),
    "record with another figure": _fields(_RECORDS, 2, _number),
    "record of another cell": _fields(_RECORDS, 1, lambda record: record.update(cell=5)),
    "record of an unknown sample": _fields(_RECORDS, 1, lambda record: record.update(sample="nobody")),
    "record that is no UTF-8": _lines(_RECORDS, lambda lines: [b"\xff\xfe\n", *lines]),
    "records are a folder": _as_folder(_RECORDS),
    "no ledger": lambda folder: (folder / _LEDGER).unlink(),
    "costs lost": _without(_LEDGER, b'"decide"'),
    "one cost lost": _lines(_LEDGER, lambda lines: lines[:-2] + lines[-1:]),
    "inspections lost": _without(_LEDGER, b'"inspected"'),
    "sanity runs lost": _without(_LEDGER, b'"probe"'),
    "costs are lower": _costs("forwards", 1),
    "costs are a text": _costs("forwards", "few"),
    "ledger that is {}": _lines(_LEDGER, lambda lines: [b"{}\n", *lines]),
    "ledger twice": _lines(_LEDGER, lambda lines: lines * 2),
    "ledger is a folder": _as_folder(_LEDGER),
    "adversarial lost": lambda folder: _stored(folder)[0].unlink(),
    "all adversarials lost": lambda folder: shutil.rmtree(folder / "adversarial"),
    "adversarial torn": _file(-1, lambda held: held[:-5]),
    "adversarial empty": _file(0, lambda held: b""),
    "bit of a picture flipped": _file(0, _flip(1.0)),
    "bit of a head flipped": _file(-1, _flip(0.2)),
    "adversarials exchanged": _swap,
    "adversarial of another chunk": _copied,
    "study edited": _study,
    "head of another seed": _head(seed=99),
    "head is a list": _bytes(_HEAD, lambda held: b"[]"),
    "result torn": _bytes(_AUDIT, lambda held: held[: len(held) // 3]),
    "no head": lambda folder: (folder / _HEAD).unlink(),
    "head of zeros": _bytes(_HEAD, lambda held: b"\0" * len(held)),
    "head is nested": _bytes(_HEAD, lambda held: b"[" * 200_000),
    "head is a folder": _as_folder(_HEAD),
    "records are a pipe": _as_pipe(_RECORDS),
    "records with ends of lines of another system": _bytes(_RECORDS, lambda held: held.replace(b"\n", b"\r\n")),
    "records after a byte order mark": _bytes(_RECORDS, lambda held: b"\xef\xbb\xbf" + held),
    "record without bounds": _bytes(
        _RECORDS, lambda held: held.replace(b'"original_top1": ', b'"original_top1": 1e999, "one": ', 1)
    ),
    "adversarial is a folder": _stored_as_folder,
    "adversarials are a file": _stored_as_file,
    "result is a folder": _as_folder(_AUDIT),
    "page is a folder": _as_folder("report.html"),
    "owner is a folder": _as_folder(".owner.json"),
    "drafts left": _drafts,
    "record again with another figure": _lines(
        _RECORDS, lambda lines: [*lines, json.dumps(_again(json.loads(lines[0]))).encode() + b"\n"]
    ),
    "record with a flag for a number": _fields(_RECORDS, 0, lambda record: record.update(original_top1=True)),
    "record with a number that no float holds": _fields(
        _RECORDS, 1, lambda record: record.update(original_top1=10**400)
    ),
    "record with half of a letter": _fields(_RECORDS, 1, lambda record: record.update(sample="\ud800")),
    "record with a key twice": _bytes(_RECORDS, lambda held: held.replace(b"{", b'{"original_top1": 0.25, ', 1)),
    "records end in zeros": _bytes(_RECORDS, lambda held: held + bytes(4096)),
    "records are nowhere": _link(_RECORDS, "nowhere"),
    "records are nothing": _link(_RECORDS, os.devnull),
    "ledger is empty": _bytes(_LEDGER, lambda held: b""),
    "ledger ends in zeros": _bytes(_LEDGER, lambda held: held + bytes(4096)),
    "checksums of other records": _lines(_LEDGER, _sums),
    "a checksum of a line lost": _fields(_LEDGER, -1, lambda line: line.pop("check") and None),
    "costs of another chunk": _bytes(_LEDGER, lambda held: held.replace(b'"chunk": 0', b'"chunk": 99', 1)),
    "costs are negative": _costs("forwards", -5),
    "costs are infinite": _costs("seconds", float("inf")),
    "head of another version": _head(version="99.0"),
    "head of another shard": _head(shard="2/3", parts=7),
    "head without a study": _head(study={}),
    "head is linked": _link(_HEAD, _AUDIT),
    "adversarial under another name": _renamed,
    "another adversarial in the set": _another_in_the_set,
    "adversarial of another size": _of_another_size,
    "gallery torn": _bytes("gallery.json", lambda held: held[: len(held) // 2]),
    "gallery is a number": _bytes("gallery.json", lambda held: b"5"),
    "figure of the result edited": _figure,
}
"""By name; each is done to the directory of a run that has come to its end."""
