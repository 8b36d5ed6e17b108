"""The checkpoint: one move, one training."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch

from secondlook.errors import BrokenRun, InvalidInput
from secondlook.hardening.output import Checkpoint, OutputPaths, require_same
from secondlook.models.io.state import write_state

IDENTITY = {"method": {"name": "tecoa", "eps": 0.1}, "training": {"steps": 5}}


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    checkpoint = Checkpoint(path=tmp_path / "deep" / "a.checkpoint", identity=IDENTITY)
    assert checkpoint.load() is None
    checkpoint.save({"step": 3, "weights": torch.ones(2)})
    found = checkpoint.load()
    assert found is not None
    assert found["step"] == 3 and torch.equal(found["weights"], torch.ones(2))
    assert [file.name for file in checkpoint.path.parent.iterdir()] == ["a.checkpoint"]


def test_a_kill_while_writing_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(path=tmp_path / "a.checkpoint", identity=IDENTITY)
    checkpoint.save({"step": 3})

    def killed(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        checkpoint.save({"step": 4})
    assert (checkpoint.load() or {})["step"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.checkpoint"]


def test_a_full_disk_is_told_and_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = Checkpoint(path=tmp_path / "a.checkpoint", identity=IDENTITY)
    checkpoint.save({"step": 3})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BrokenRun, match=r"cannot write .*a\.checkpoint: No space left on device; make room there"):
        checkpoint.save({"step": 4})
    assert (checkpoint.load() or {})["step"] == 3
    assert [path.name for path in tmp_path.iterdir()] == ["a.checkpoint"]
    with pytest.raises(BrokenRun, match="Not a directory; a part of its path is a file"):
        Checkpoint(path=checkpoint.path / "deeper" / "b.checkpoint", identity=IDENTITY).save({})


@pytest.mark.parametrize(
    ("now", "told"),
    [
        ({**IDENTITY, "method": {"name": "fare", "eps": 0.1}}, r"method.name='tecoa', not 'fare'"),
        ({**IDENTITY, "training": {"steps": 6}}, r"training.steps=5, not 6"),
        ({**IDENTITY, "model": {"hash": "ab"}}, r"model.hash=None, not 'ab'"),
        ({"method": IDENTITY["method"]}, r"training.steps=5, not None"),
    ],
)
def test_another_training_is_refused_by_the_first_setting_that_differs(
    now: dict[str, dict[str, object]], told: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.checkpoint"
    Checkpoint(path=path, identity=IDENTITY).save({"step": 3})
    with pytest.raises(InvalidInput, match=f"{told}.*another --out, or remove it"):
        Checkpoint(path=path, identity=now).load()
    require_same(IDENTITY, IDENTITY, path)


@pytest.mark.parametrize("content", [b"", b"nonsense"])
def test_a_damaged_one_is_named(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.checkpoint"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"a\.checkpoint is no checkpoint"):
        Checkpoint(path=path, identity=IDENTITY).load()


def test_one_flipped_bit_anywhere_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.checkpoint"
    checkpoint = Checkpoint(path=path, identity=IDENTITY)
    checkpoint.save({"step": 3, "weights": torch.ones(40)})
    whole = path.read_bytes()
    for at in range(0, len(whole), len(whole) // 40):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 16]) + whole[at + 1 :])
        with pytest.raises(InvalidInput, match=r"a\.checkpoint is no checkpoint, or is damaged; remove it"):
            checkpoint.load()
    path.unlink()
    path.mkdir()
    with pytest.raises(InvalidInput, match="is no file; move it away"):
        checkpoint.load()


def test_a_state_of_other_fields_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.checkpoint"
    write_state(path, {"step": 3})
    with pytest.raises(InvalidInput, match="holds the state of another training"):
        Checkpoint(path=path, identity=IDENTITY).load()


def test_a_finished_model_is_one_with_whole_weights(tmp_path: Path) -> None:
    paths = OutputPaths(tmp_path, "clip-tecoa")
    card = paths.write(b"weights", {"base": {}, "recipe": IDENTITY})
    assert paths.finished(IDENTITY) == card
    paths.weights.write_bytes(b"weight")
    with pytest.raises(InvalidInput, match=r"clip-tecoa\.safetensors is not what its card says; remove .*json"):
        paths.finished(IDENTITY)
    paths.weights.unlink()
    with pytest.raises(InvalidInput, match=r"clip-tecoa\.safetensors is missing; remove .*json"):
        paths.finished(IDENTITY)
    for content in (b"", b'{"recipe": ', b"[]", b"5", b"\xff", b"[" * 200_000):
        paths.card.write_bytes(content)
        with pytest.raises(InvalidInput, match=r"clip-tecoa\.json is no model card; move it away"):
            paths.finished(IDENTITY)
    paths.card.write_bytes(b'{"recipe": 5, "base": 1}')
    with pytest.raises(InvalidInput, match="is of another model"):
        paths.finished(IDENTITY)


def test_two_processes_do_not_train_one_model_and_may_train_two(tmp_path: Path) -> None:
    paths = OutputPaths(tmp_path / "deep", "clip-tecoa")
    with paths.alone():
        with pytest.raises(BrokenRun, match=r"clip-tecoa\.checkpoint is in use by another process"), paths.alone():
            pass
        with OutputPaths(tmp_path / "deep", "clip-fare").alone():
            pass
    with paths.alone():
        pass
    (tmp_path / "file").write_text("no folder")
    with (
        pytest.raises(BrokenRun, match=r"cannot write .*file/x: Not a directory"),
        OutputPaths(tmp_path / "file" / "x", "a").alone(),
    ):
        pass
