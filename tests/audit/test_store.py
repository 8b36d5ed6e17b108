"""What a kill, a full disk, or another version leaves in a run directory."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from secondlook import drafts
from secondlook.audit import store
from secondlook.audit.store import Ledger, Log, Records, Run, load_tensors, read_head, read_json, save_tensors
from secondlook.drafts import write_atomic
from secondlook.errors import BrokenRun
from secondlook.registry import digest

IDENTITY = {"version": "1.0", "config_hash": digest({}), "study": {}, "shard": "1/1", "parts": 1}


class FullDisk:
    """Stands for ``open`` on a disk that has room for ``room`` more bytes."""

    def __init__(self, room: int) -> None:
        self.room = room

    def __call__(self, path: Path, mode: str = "r", **how: Any) -> Any:
        file = open(path, mode, **how)  # noqa: SIM115
        whole = how.get("buffering") != 0
        return self._Narrow(file, self, whole) if set(mode) & set("awx") else file

    class _Narrow:
        def __init__(self, file: Any, disk: "FullDisk", whole: bool) -> None:
            self.file, self.disk, self.whole = file, disk, whole

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *how: object) -> None:
            self.file.close()

        def write(self, data: bytes) -> int:
            part = bytes(data)[: self.disk.room]
            self.disk.room -= len(part)
            self.file.write(part)
            # A buffered file writes all or raises; a raw one says how far it came.
            if not part or (self.whole and len(part) < len(data)):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return len(part)

        def __getattr__(self, name: str) -> Any:
            return getattr(self.file, name)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Leaves so many bytes on the disk that the store writes to."""

    def leave(room: int) -> None:
        disk = FullDisk(room)
        for module in (store, drafts):
            monkeypatch.setattr(module, "open", disk, raising=False)

    return leave


def test_an_atomic_write_is_whole_or_was_never(tmp_path: Path, full_disk: Callable[[int], None]) -> None:
    path = tmp_path / "deep" / "audit.json"
    write_atomic(path, b"old")
    full_disk(2)
    with pytest.raises(BrokenRun, match=r"cannot write .*audit\.json: No space left.*make room"):
        write_atomic(path, b"newer")
    assert path.read_bytes() == b"old"
    assert [each.name for each in path.parent.iterdir()] == ["audit.json"]


def test_a_folder_that_cannot_be_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(BrokenRun, match="cannot write"):
        write_atomic(tmp_path / "file" / "run.json", b"{}")
    with pytest.raises(BrokenRun, match="cannot write"):
        Run.open(tmp_path / "file", IDENTITY)


@pytest.mark.parametrize("torn", [b'{"a": 3', b"\x00\x00\x00", b'{"a": "\xc3'])
def test_a_torn_last_line_is_cut_off_and_written_anew(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"a": 1}\n{"a": 2}\n' + torn)
    log = Log(path)
    assert [record["a"] for record in log] == [1, 2]
    log.append([{"a": 3}])
    assert path.read_bytes() == b'{"a": 1}\n{"a": 2}\n{"a": 3}\n'


def test_a_log_of_nothing_but_a_torn_line_is_empty(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"a"')
    assert list(Log(path)) == [] and path.read_bytes() == b'{"a"'
    Log(path).append([{"a": 1}])
    assert path.read_bytes() == b'{"a": 1}\n'


@pytest.mark.parametrize("room", [0, 1, 12, 25])
def test_a_full_disk_loses_no_finished_record(tmp_path: Path, full_disk: Callable[[int], None], room: int) -> None:
    log = Log(tmp_path / "records.jsonl")
    log.append([{"name": "grün"}, {"name": "blå"}])
    before = log.path.read_bytes()
    full_disk(room)
    with pytest.raises(BrokenRun, match="No space left on device; make room there, and run the same command"):
        log.append([{"name": "gelb"}, {"name": "schwarz"}])
    assert log.path.read_bytes() == before


@pytest.mark.parametrize(
    "line",
    [
        b"{oops}\n",
        b"\xff\xfe\xff\n",
        b"\x00\x00\n",
        b"5\n",
        b"[]\n",
        b"null\n",
        b'{"a": NaN}\n',
        b"\n",
        b"[" * 99999 + b"\n",
    ],
    ids=str,
)
def test_a_broken_line_in_the_middle_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'{"a": 2}\n')
    with pytest.raises(BrokenRun, match=r"records\.jsonl, line 2, is no record; delete the line"):
        list(Log(path))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_not_is_never_written(tmp_path: Path, value: float) -> None:
    log = Log(tmp_path / "records.jsonl")
    with pytest.raises(ValueError, match="JSON"):
        log.append([{"a": 1.0}, {"a": value}])
    assert list(log) == []


def test_a_run_is_continued_by_its_own_study_and_version_alone(tmp_path: Path) -> None:
    Run.open(tmp_path, IDENTITY).records.append([{"cell": "c", "sample": "s"}])
    assert len(list(Run.open(tmp_path, IDENTITY).records)) == 1
    for key in ("version", "config_hash", "shard"):
        with pytest.raises(BrokenRun, match=f"written with {key} .* this is other; choose another"):
            Run.open(tmp_path, {**IDENTITY, key: "other"})
    assert len(list(Log(tmp_path / "records.jsonl"))) == 1


@pytest.mark.parametrize("head", [None, b"", b'{"version": "1.', b"[]", b"null", b"\xff\xff"])
def test_records_without_a_whole_run_json_are_kept_and_not_mixed(tmp_path: Path, head: bytes | None) -> None:
    folder, fresh = tmp_path / "run", tmp_path / "fresh"
    Run.open(folder, IDENTITY).records.append([{"cell": "c", "sample": "s"}])
    (folder / "run.json").unlink()
    if head is not None:
        (folder / "run.json").write_bytes(head)
    with pytest.raises(BrokenRun, match=r"run\.json.*copy the run\.json from there"):
        Run.open(folder, IDENTITY)
    # The mend that the message names works.
    Run.open(fresh, IDENTITY)
    (folder / "run.json").write_bytes((fresh / "run.json").read_bytes())
    assert len(list(Run.open(folder, IDENTITY).records)) == 1


def test_a_run_json_of_an_unknown_shape_is_told(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text('{"format": 7}')
    with pytest.raises(BrokenRun, match=r"run\.json was edited or is damaged"):
        Run.open(tmp_path, IDENTITY)


@pytest.mark.parametrize(("key", "value"), [("study", {"seed": 1}), ("seed", 1), ("parts", 2), ("version", "1.1")])
def test_a_run_json_that_was_edited_is_told(tmp_path: Path, key: str, value: Any) -> None:
    Run.open(tmp_path, IDENTITY)
    head = json.loads((tmp_path / "run.json").read_bytes())
    (tmp_path / "run.json").write_text(json.dumps({**head, key: value}))
    with pytest.raises(BrokenRun, match=r"run\.json was edited or is damaged.*copy the run\.json from there"):
        Run.open(tmp_path, IDENTITY)
    (tmp_path / "run.json").write_text(json.dumps(head, indent=7))
    assert read_head(tmp_path) == IDENTITY


@pytest.mark.parametrize("line", ["{}", '{"cell": 5, "sample": "a"}', '{"cell": "a"}', '{"sample": "a"}'])
def test_what_is_json_and_no_record_is_told(tmp_path: Path, line: str) -> None:
    log = Records(tmp_path / "records.jsonl")
    log.append([{"cell": "c", "sample": "s"}])
    with log.path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(BrokenRun, match=r"records\.jsonl, line 2, is no record; delete the line"):
        list(log)


def test_a_line_of_the_ledger_is_what_was_written_or_told(tmp_path: Path) -> None:
    log, lines = Ledger(tmp_path / "ledger.jsonl"), [{"probed": "a", "n": 3}, {"cells": "c", "at": [1, 2]}]
    log.append([lines[0], {**lines[1], "at": (1, 2)}])
    assert list(log) == lines
    whole = log.path.read_text()
    for text in (whole.replace("3", "4"), whole.replace('"c"', '"d"'), whole.replace("check", "chuck"), "{}\n", "5\n"):
        log.path.write_text(text)
        with pytest.raises(BrokenRun, match=r"ledger\.jsonl, line [12], .*delete the line, and the same command"):
            list(log)


def test_half_of_a_surrogate_pair_is_written_as_an_escape(tmp_path: Path) -> None:
    log = Log(tmp_path / "records.jsonl")
    log.append([{"text": "caf\u00e9 \udcff"}])
    assert list(log) == [{"text": "caf\u00e9 \udcff"}]
    assert log.path.read_bytes().decode() == '{"text": "caf\u00e9 \\udcff"}\n'


def test_a_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(BrokenRun, match=r"audit\.json is missing; run `secondlook audit`"):
        read_json(tmp_path / "audit.json")


def test_tensors_come_back_with_their_provenance(tmp_path: Path) -> None:
    path = tmp_path / "a" / "0.safetensors"
    tensors = {"x": torch.arange(6).reshape(2, 3).T.float(), "n": torch.tensor([1, 2]).byte()}
    save_tensors(path, tensors, {"cost": {"forwards": 3}, "samples": ("a", "ü")})
    found = load_tensors(path)
    assert found is not None
    assert all(torch.equal(found[0][key], tensors[key]) for key in tensors)
    assert found.about == {"cost": {"forwards": 3}, "samples": ["a", "ü"]}


def test_one_flipped_bit_anywhere_in_a_file_of_tensors_is_seen(tmp_path: Path) -> None:
    path = tmp_path / "0.safetensors"
    save_tensors(path, {"x": torch.arange(4).byte(), "y": torch.ones(2)}, {"cost": 3, "samples": ["a"]})
    content = path.read_bytes()
    for at in range(len(content)):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        found = load_tensors(path)
        # Blanks that fill the head up mean nothing.
        assert found is None or content[at : at + 1] == b" ", at


@pytest.mark.parametrize("kept", [0, 4, 8, 40, 0.5, -1])
def test_torn_tensors_are_as_good_as_none(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "0.safetensors"
    assert load_tensors(path) is None
    save_tensors(path, {"x": torch.ones(100)}, {"a": 1})
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else kept])
    assert load_tensors(path) is None


def test_records_survive_their_own_encoding(tmp_path: Path) -> None:
    record = {"sample": "grün/ひ\u2028\n.png", "value": 0.1 + 0.2, "none": None}
    log = Log(tmp_path / "records.jsonl")
    log.append([record])
    assert list(log) == [record]
    assert json.loads(log.path.read_bytes()) == record


@pytest.mark.parametrize("name", ["records.jsonl", "ledger.jsonl", "adversarial", "run.json"])
def test_a_link_out_of_a_run_is_neither_read_nor_written(tmp_path: Path, name: str) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "run"
    outside.write_text("no newline at its end")
    folder.mkdir()
    (folder / name).symlink_to(outside)
    with pytest.raises(BrokenRun, match=f"{name} is a link that leads out of .*run; put the file itself there"):
        Run.open(folder, IDENTITY)
    assert outside.read_text() == "no newline at its end"
