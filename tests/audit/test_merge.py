"""Merges: of every wrong set of shards the part that is wrong is named, and nothing is written."""

import json
from pathlib import Path

import pytest

from secondlook.audit.api import merge_runs, run_study
from secondlook.audit.plan import Shard
from secondlook.errors import BrokenRun
from tests.audit.conftest import TASKS, Make
from tests.audit.test_run import by_sample, figures
from tests.audit.wrong_shards import half_done, shards, wrong_sets


@pytest.mark.parametrize("task", TASKS)
def test_a_shard_that_is_half_done_is_named_and_nothing_is_written(
    task: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    study, out = request.getfixturevalue(task)(), tmp_path / "merged"
    for name, wrong in half_done(study, shards(study, tmp_path)):
        with pytest.raises(BrokenRun, match=wrong.message):
            merge_runs(wrong.folders, out)
        assert not list(out.glob("*.json*")), name


def test_every_wrong_set_of_shards_is_refused_with_the_part_that_is_wrong(classification: Make, tmp_path: Path) -> None:
    """``benchmarks/bench_deaths.py`` does the same with every task."""
    study, out = classification(), tmp_path / "merged"
    folders = shards(study, tmp_path)
    for name, wrong in wrong_sets(study, classification(seed=1), folders):
        with pytest.raises(BrokenRun, match=wrong.message):
            merge_runs(wrong.folders, out)
        assert not out.exists(), name
    with pytest.raises(BrokenRun, match="is one of the parts"):
        merge_runs(folders, folders[1])
    with pytest.raises(BrokenRun, match=r"holds the same study in 1 part\(s\), not 3"):
        merge_runs(folders, tmp_path / "whole")


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
