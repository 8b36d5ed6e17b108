"""What has the right checksums and was not written by us: the same figures, or an error with the file's name."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from secondlook.audit.adversarial import AdversarialSet
from secondlook.audit.api import merge_runs, run_study
from secondlook.audit.examples import read_examples
from secondlook.audit.store import checksum, load_tensors, read_head, save_tensors
from secondlook.audit.study import Study
from secondlook.audit.written import PartHead, ScoredLine, fits
from secondlook.errors import BrokenRun, SecondlookError
from tests.audit.conftest import Make
from tests.audit.deaths import State, state

_WRONG: dict[str, Any] = {"null": None, "5": 5, "text": "x", "list": [], "table": {}, "list of 5": [5], "-1": -1}
_LEDGER = ("cell", "chunk", "decide", "attack", "sums", "made", "notices")
_SET = ("spec", "cost", "samples", "captions", "notices", "members")
Sound = tuple[Study, Path, State]


@pytest.fixture
def sound(classification: Make, tmp_path: Path) -> Sound:
    """A study of two samples, where its run lies, and what it came to."""
    study, folder = classification(batch=1, task=classification().task | {"samples": 2}, examples=0), tmp_path / "sound"
    return study, folder, state(folder, run_study(study, folder))


def _line(folder: Path, key: str, value: Any) -> None:
    """The line of an attacked row says something else, under a checksum of its own."""
    path = folder / "ledger.jsonl"
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    chosen = next(line for line in lines if line.get("made"))
    chosen.pop("check")
    chosen[key] = value
    chosen["check"] = checksum(chosen)
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def _head(folder: Path, key: str, value: Any) -> None:
    head = json.loads((folder / "run.json").read_bytes())
    head.pop("check")
    head[key] = value
    (folder / "run.json").write_text(json.dumps({**head, "check": checksum(head)}))


def _stored(folder: Path) -> Path:
    return sorted((folder / "adversarial").rglob("*.safetensors"))[0]


def _said(folder: Path, key: str, value: Any) -> None:
    held = load_tensors(_stored(folder))
    assert held is not None
    save_tensors(_stored(folder), held.tensors, {**held.about, key: value})


def _held(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        held = load_tensors(_stored(folder))
        assert held is not None
        save_tensors(_stored(folder), {**held.tensors, name: change(held.tensors["images"])}, held.about)

    return damage


_TENSORS = {
    "half of the images": _held("images", lambda images: images[:0]),
    "one number": _held("images", lambda images: images[0, 0, 0, 0].clone()),
    "floats": _held("images", lambda images: images.float()),
    "bf16": _held("images", lambda images: images.bfloat16()),
    "other members": _held("by", lambda images: torch.zeros(7)),
    "a trace of others": _held("steps", lambda images: torch.zeros(7)),
}


def _ends_well(sound: Sound, change: Callable[[Path], None], again: Path) -> None:
    study, folder, whole = sound
    shutil.copytree(folder, again)
    change(again)
    try:
        assert state(again, run_study(study, again)) == whole
    except SecondlookError as error:
        assert str(again) in str(error)
    shutil.rmtree(again)


def test_wrong_types_under_the_right_checksum_are_told_or_made_again(sound: Sound, tmp_path: Path) -> None:
    """An eighth of the product, which has every key and every value."""
    tables = [(_line, key) for key in _LEDGER] + [(_said, key) for key in _SET]
    product = [(change, key, value) for change, key in tables for value in _WRONG.values()]
    for change, key, value in product[::8]:
        _ends_well(sound, lambda folder, c=change, k=key, v=value: c(folder, k, v), tmp_path / "again")  # type: ignore[misc]


def test_tensors_that_do_not_fit_together_are_made_again(sound: Sound) -> None:
    study, folder, whole = sound
    for name, damage in _TENSORS.items():
        damage(folder)
        assert state(folder, run_study(study, folder)) == whole, name


def test_a_head_of_wrong_types_is_told(sound: Sound) -> None:
    _, folder, _ = sound
    held = (folder / "run.json").read_bytes()
    for key, value in (("command", 5), ("study", "x"), ("parts", 0), ("shard", None), ("parts", "2")):
        _head(folder, key, value)
        with pytest.raises(BrokenRun, match=r"run\.json was edited or is damaged"):
            read_head(folder)
        (folder / "run.json").write_bytes(held)


def test_a_line_of_a_chunk_that_is_not_adds_no_cost(sound: Sound) -> None:
    study, folder, _ = sound
    _line(folder, "chunk", 7)
    with pytest.raises(BrokenRun, match=r"ledger\.jsonl, line \d+, is of other samples than this study has"):
        run_study(study, folder)


def test_a_set_that_holds_a_sample_twice_is_refused(sound: Sound) -> None:
    _, folder, _ = sound
    shutil.copy(_stored(folder), _stored(folder).with_name("00099.safetensors"))
    with pytest.raises(BrokenRun, match="twice; move away the file that its run did not write"):
        AdversarialSet(_stored(folder).parent)


def test_a_pipe_is_told_and_not_waited_for(sound: Sound, tmp_path: Path) -> None:
    study, folder, _ = sound
    for path in (folder / "run.json", folder / "records.jsonl", folder / "ledger.jsonl", _stored(folder)):
        held = path.read_bytes()
        path.unlink()
        os.mkfifo(path)
        for verb in (lambda: run_study(study, folder), lambda: merge_runs([folder], tmp_path / "merged")):
            with pytest.raises(BrokenRun, match="is a pipe or a device and no file; move it away"):
                verb()
        path.unlink()
        path.write_bytes(held)
    os.mkfifo(tmp_path / "gallery.json")
    with pytest.raises(BrokenRun, match="is a pipe"):
        read_examples(tmp_path / "gallery.json")


def test_types_are_those_of_json() -> None:
    spent = {"forwards": 1, "backwards": 0, "seconds": 0, "peak_memory": 0}
    line = {"cell": "c", "chunk": 0, "decide": spent, "attack": {}, "sums": [1], "made": None, "more": "kept"}
    part = {"spec": "s", "samples": ["a"], "captions": [["x"]], "notices": [], "cost": spent}
    assert fits(ScoredLine, line) and fits(PartHead, part)
    assert not fits(ScoredLine, {**line, "decide": {**spent, "forwards": "1"}})
    assert not fits(ScoredLine, {**line, "decide": {}}) and not fits(PartHead, {**part, "samples": []})
