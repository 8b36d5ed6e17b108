"""All samples scored together: who is found is as reckoned by hand, and nothing may be missing."""

from pathlib import Path
from typing import Any

import pytest

from secondlook.audit.api import merge_runs, run_study
from secondlook.audit.plan import Shard
from secondlook.audit.store import Log
from secondlook.errors import BrokenRun
from tests.audit.conftest import Make, Run


def test_shards_generate_and_the_whole_is_scored(retrieval: Make, tmp_path: Path, ran: Run) -> None:
    whole, audit = ran(retrieval())
    folders = [tmp_path / f"part-{i}" for i in (1, 2)]
    for i, folder in enumerate(folders, start=1):
        assert run_study(retrieval(), folder, Shard(i, 2)).cells == []
        assert not (folder / "records.jsonl").exists()
    merged = merge_runs(folders, tmp_path / "merged")
    same = {"metrics", "denominators", "health", "outcomes", "id"}
    assert [c.model_dump(include=same) for c in merged.cells] == [c.model_dump(include=same) for c in audit.cells]
    records = (tmp_path / "merged" / "records.jsonl").read_bytes()
    assert records == (whole / "records.jsonl").read_bytes()
    with pytest.raises(BrokenRun, match="shard 2/2 is missing"):
        merge_runs(folders[:1], tmp_path / "half")
    assert not (tmp_path / "half").exists()


def test_each_guarded_model_is_asked_once_about_what_rows_share(retrieval: Make, ran: Run) -> None:
    """Three sides of one attack are of one set of images: they cost what one costs."""
    _, audit = ran(retrieval())
    clean, *attacked = audit.cells
    assert len(attacked) == 3 and clean.ledger.forwards == 10
    assert {cell.ledger.forwards for cell in attacked} == {10}
    assert {cell.ledger.attack_forwards for cell in attacked} == {2 * 10}
    assert all(cell.ledger.overhead == 1 for cell in audit.cells)


@pytest.mark.parametrize("draws", [1, 4])
def test_a_defended_row_and_its_adaptive_one(retrieval: Make, ran: Run, draws: int) -> None:
    _, audit = ran(
        retrieval(
            defenses=[{"name": "undefended"}, {"name": "jpeg", "quality": 60}],
            knowledge=["clean", "oblivious", "adaptive"],
            adaptive={"draws": draws},
            task={"name": "retrieval", "data": "dials:10", "samples": 0, "attacked": ["both"]},
        )
    )
    assert [(cell.defense, cell.knowledge) for cell in audit.cells] == [
        ("undefended", "clean"),
        ("undefended", "adaptive"),
        ("jpeg", "clean"),
        ("jpeg", "oblivious"),
        ("jpeg", "adaptive"),
    ]
    assert audit.cells[-1].ledger.forwards == 2 * 10
    assert audit.cells[-1].settings["attack"]["draws"] == draws
    blind, knowing = audit.cells[-2:]
    assert blind.settings["attack"]["name"] == knowing.settings["attack"]["name"]
    assert audit.cells[1].ledger.attack_forwards == blind.ledger.attack_forwards


def test_lost_records_of_one_row_are_scored_again(retrieval: Make, ran: Run) -> None:
    folder, _ = ran(retrieval())
    path = folder / "records.jsonl"
    before: list[dict[str, Any]] = list(Log(path))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(line for at, line in enumerate(lines) if at not in (3, 14, 15)))
    run_study(retrieval(), folder)

    def named(record: dict[str, Any]) -> tuple[str, str]:
        return record["cell"], record["sample"]

    assert sorted(Log(path), key=named) == sorted(before, key=named)
