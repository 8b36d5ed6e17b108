"""Sets of shards that are no whole study: incomplete, doubled, mixed, or with a shard that is half-done."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from secondlook.audit.api import run_study
from secondlook.audit.plan import Shard
from secondlook.audit.store import checksum
from secondlook.audit.study import Study


class Wrong(NamedTuple):
    """One of them.

    Attributes:
        folders: what is to be merged.
        message: what has to be told, a pattern.
    """

    folders: tuple[Path, ...]
    message: str


def _last_line(folder: Path, name: str) -> None:
    path = folder / name
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))


def _costs(folder: Path) -> None:
    """Loses what the records of one chunk of one row have cost."""
    path = folder / "ledger.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    chosen = next(line for line in lines if b'"sums"' in line)
    path.write_bytes(b"".join(line for line in lines if line is not chosen))


def _flipped(folder: Path) -> None:
    path = sorted((folder / "adversarial").rglob("*.safetensors"))[-1]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def _lost(folder: Path) -> None:
    sorted((folder / "adversarial").rglob("*.safetensors"))[0].unlink()


def _foreign(folder: Path) -> None:
    """The file of another shard, whole and of other samples."""
    path = sorted((folder / "adversarial").rglob("*.safetensors"))[0]
    other = next(iter(sorted((folder.parent / "part-3" / "adversarial" / path.parent.name).iterdir())))
    path.write_bytes(other.read_bytes())


def _edited(folder: Path) -> None:
    head = json.loads((folder / "run.json").read_bytes())
    head["study"]["seed"] = 9
    (folder / "run.json").write_text(json.dumps(head))


def _of_version(folder: Path, name: str) -> None:
    head = json.loads((folder / "run.json").read_bytes())
    head.pop("check")
    head["version"] = name
    (folder / "run.json").write_text(json.dumps({**head, "check": checksum(head)}))


HALF_DONE: dict[str, tuple[Callable[[Path], None], str]] = {
    "records": (lambda folder: _last_line(folder, "records.jsonl"), "shard 2/3 in .*part-2 is half-done"),
    "costs": (_costs, "shard 2/3 in .*part-2 is half-done"),
    "flipped": (_flipped, r"shard 2/3 in .*part-2 is half-done: .*\.safetensors is damaged"),
    "lost": (_lost, r"shard 2/3 in .*part-2 is half-done: .*\.safetensors is missing; run it with --shard 2/3"),
    "foreign": (_foreign, "shard 2/3 in .*part-2 is half-done"),
    "edited": (_edited, r"part-2/run\.json was edited or is damaged: its study is not the one of its config_hash"),
    "no head": (lambda folder: (folder / "run.json").unlink(), r"part-2/run\.json is missing"),
}
"""What may have happened to the second of three shards, ``part-2``."""


def shards(study: Study, place: Path) -> list[Path]:
    """``part-1`` to ``part-3``."""
    folders = [place / f"part-{index}" for index in (1, 2, 3)]
    for index, folder in enumerate(folders, start=1):
        run_study(study, folder, Shard(index, 3))
    return folders


def half_done(study: Study, folders: list[Path]) -> Iterator[tuple[str, Wrong]]:
    """The three, the second of them damaged in each way; afterwards it is whole again."""
    collective = not (folders[1] / "records.jsonl").exists()
    sound = folders[1].with_name("sound")
    folders[1].rename(sound)
    for name, (change, message) in HALF_DONE.items():
        if not collective or name not in ("records", "costs"):  # the whole is scored when it is merged
            shutil.copytree(sound, folders[1])
            change(folders[1])
            yield name, Wrong(tuple(folders), message)
            shutil.rmtree(folders[1])
    sound.rename(folders[1])


def wrong_sets(study: Study, other_study: Study, folders: list[Path]) -> Iterator[tuple[str, Wrong]]:
    """Sets of whole runs, the three among them."""
    one, two, three = folders
    half, whole, other, copy = (one.with_name(name) for name in ("half", "whole", "other", "copy"))
    run_study(study, half, Shard(1, 2))
    run_study(study, whole)
    run_study(other_study, other, Shard(2, 3))
    shutil.copytree(two, copy)
    yield "missing", Wrong((one, three), "shard 2/3 is missing; run the study with --shard 2/3")
    yield "alone", Wrong((two,), "shard 1/3, 3/3 is missing")
    yield "doubled", Wrong((one, two, copy, three), "part-2 and .*copy are both shard 2/3")
    yield "named twice", Wrong((one, two, two, three), "part-2 and .*part-2 are both shard 2/3")
    yield (
        "of another division",
        Wrong((half, two, three), "is shard [12]/[23] and .* is shard [12]/[23]; merge the shards of one division"),
    )
    yield "whole and part", Wrong((whole, two), "merge the shards of one division")
    yield "of another study", Wrong((one, other, three), "are of different studies or versions")
    _of_version(copy, "99.0")
    yield (
        "of another version",
        Wrong((one, copy, three), r"copy was written with version 99\.0, this is \S+; merge with that"),
    )
    yield "of nothing", Wrong((one, two, one.with_name("nothing")), r"nothing/run\.json is missing")
    yield "empty", Wrong((), "there is nothing to merge")
