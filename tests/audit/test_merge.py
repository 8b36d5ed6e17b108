"""Merges: of every wrong set of shards the part that is wrong is named, and nothing is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from secondlook.audit.api import merge_runs, run_study
from secondlook.audit.plan import Shard
from secondlook.errors import BrokenRun
from tests.audit.conftest import TASKS, Make
from tests.audit.test_run import by_sample, figures


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


def _edited(folder: Path) -> None:
    head = json.loads((folder / "run.json").read_bytes())
    head["study"]["seed"] = 9
    (folder / "run.json").write_text(json.dumps(head))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "records": (lambda folder: _last_line(folder, "records.jsonl"), "shard 2/3 in .*part-2 is half-done"),
    "costs": (_costs, "shard 2/3 in .*part-2 is half-done"),
    "flipped": (_flipped, r"shard 2/3 in .*part-2 is half-done: .*\.safetensors is damaged"),
    "lost": (_lost, r"shard 2/3 in .*part-2 is half-done: .*\.safetensors is missing; run it with --shard 2/3"),
    "edited": (_edited, r"part-2/run\.json was edited or is damaged: its study is not the one of its config_hash"),
    "no head": (lambda folder: (folder / "run.json").unlink(), r"part-2/run\.json is missing"),
}


@pytest.mark.parametrize("task", TASKS)
def test_a_shard_that_is_half_done_is_named_and_nothing_is_written(
    task: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    study = request.getfixturevalue(task)()
    parts = [tmp_path / f"part-{index}" for index in (1, 2, 3)]
    for index, folder in enumerate(parts, start=1):
        run_study(study, folder, Shard(index, 3))
    sound, out = tmp_path / "sound", tmp_path / "merged"
    parts[1].rename(sound)
    for damage, (change, message) in DAMAGES.items():
        if task != "retrieval" or damage not in ("records", "costs"):  # the whole is scored when it is merged
            shutil.copytree(sound, parts[1])
            change(parts[1])
            with pytest.raises(BrokenRun, match=message):
                merge_runs(parts, out)
            shutil.rmtree(parts[1])
            assert not list(out.glob("*.json*")), damage


def test_every_wrong_set_of_shards_is_refused_with_the_part_that_is_wrong(classification: Make, tmp_path: Path) -> None:
    study, out = classification(), tmp_path / "merged"
    folders = [tmp_path / f"part-{index}" for index in (1, 2, 3)]
    for index, folder in enumerate(folders, start=1):
        run_study(study, folder, Shard(index, 3))
    one, two, three = folders
    half, whole, other = tmp_path / "half", tmp_path / "whole", tmp_path / "other"
    run_study(study, half, Shard(1, 2))
    run_study(study, whole)
    run_study(classification(seed=1), other, Shard(2, 3))
    shutil.copytree(two, tmp_path / "copy")
    for wrong, message in {
        (one, three): "shard 2/3 is missing; run the study with --shard 2/3",
        (two,): "shard 1/3, 3/3 is missing",
        (one, two, tmp_path / "copy", three): "part-2 and .*copy are both shard 2/3",
        (half, two, three): "is shard [12]/[23] and .* is shard [12]/[23]; merge the shards of one division",
        (whole, two): "merge the shards of one division",
        (one, other, three): "are of different studies or versions",
        (one, two, tmp_path / "nothing"): r"nothing/run\.json is missing",
        (): "there is nothing to merge",
    }.items():
        with pytest.raises(BrokenRun, match=message):
            merge_runs(wrong, out)
        assert not out.exists()
    with pytest.raises(BrokenRun, match="is one of the parts"):
        merge_runs(folders, two)
    with pytest.raises(BrokenRun, match=r"holds the same study in 1 part\(s\), not 3"):
        merge_runs(folders, whole)


def test_a_merged_run_goes_on_and_is_merged_again_with_the_same_result(classification: Make, tmp_path: Path) -> None:
    """Of 36 samples in chunks of 12 five shards make chunks of 7 and 8: other chunks, and the same records."""
    study, out = classification(examples=30), tmp_path / "merged"
    audit = run_study(study, tmp_path / "whole")
    folders = [tmp_path / f"part-{index}" for index in range(1, 6)]
    for index, folder in enumerate(folders, start=1):
        run_study(study, folder, Shard(index, 5))
    merged = merge_runs(folders[::-1], out)
    written = {path: path.read_bytes() for path in sorted(out.rglob("*.jsonl"))}
    assert [cell.metrics for cell in merged.cells] == [cell.metrics for cell in audit.cells]
    assert by_sample(out) == by_sample(tmp_path / "whole")
    for again in (merge_runs(folders, out), run_study(study, out), merge_runs([out], tmp_path / "copy")):
        assert figures(again) == figures(merged)
    assert written == {path: path.read_bytes() for path in written}
    shown = [json.loads((folder / "gallery.json").read_bytes()) for folder in (out, tmp_path / "whole")]
    assert shown[0] == shown[1] and len(shown[0]) == 30
    assert by_sample(tmp_path / "copy") == by_sample(out)


@pytest.mark.parametrize("name", ["adversarial/abc/00000.safetensors", "records.jsonl", "adversarial"])
def test_a_merge_follows_no_link_out_of_its_parts(tmp_path: Path, name: str) -> None:
    secret, part, out = tmp_path / "secret", tmp_path / "part", tmp_path / "out"
    secret.write_text("of the system")
    (part / name).parent.mkdir(parents=True)
    (part / name).symlink_to(secret)
    (part / "run.json").write_text("{}")
    with pytest.raises(BrokenRun, match=f"{name} is a link that leads out of .*part"):
        merge_runs([part], out)
    assert not out.exists()
