"""What is answered is as reckoned by hand, and kills, shards and batches do not change it."""

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch

from secondlook.audit.api import merge_runs, run_study
from secondlook.audit.captioning.subject import Telling
from secondlook.audit.opening import opened
from secondlook.audit.retrieval.sets import AlteredSet
from secondlook.audit.run import Shard
from secondlook.audit.schema import Cell
from secondlook.audit.single.craft import crafted
from secondlook.audit.single.plan import plan
from secondlook.audit.store import Log
from secondlook.audit.store import Run as Directory
from secondlook.errors import BrokenRun, BrokenThreat
from tests.audit.single import world
from tests.audit.single.conftest import Make, Run

Row = dict[str, Any]
EPS = 24


def name(cell: Cell) -> str:
    attack = cell.settings["attack"]
    return attack.get("objective", cell.attack) if cell.knowledge != "clean" else "clean"


def rows(folder: Path, defence: str = "undefended") -> dict[tuple[str, str], Row]:
    """Records of a defence by what is climbed, ``clean`` or the attack, and image."""
    audit = json.loads((folder / "audit.json").read_text())
    cells = [Cell.model_validate(each) for each in audit["cells"]]
    called = {cell.id: name(cell) for cell in cells if cell.defence.startswith(defence)}
    log = Log(folder / "records.jsonl")
    return {(called[r["cell"]], r["sample"]): r for r in log if r["cell"] in called}


def corner(colour: tuple[int, ...], up: set[int]) -> list[int]:
    """The corner of the ball where the channels ``up`` are brighter and the others darker."""
    return [min(255, c + EPS) if i in up else max(0, c - EPS) for i, c in enumerate(colour)]


def test_every_caption_is_as_reckoned_by_hand(telling: Make, audited: Run) -> None:
    study = telling()
    found, shades = rows(audited(study)[0]), world.Shades(9)
    task = opened(study, None)
    wanted = {task.ids[at]: text for at, (_, text) in enumerate(task.targets)}
    assert len(found) == 3 * 9
    for row, sample in enumerate(shades.ids):
        own, others = row % 3, {0, 1, 2} - {row % 3}
        target = wanted[sample]
        theirs = world.NAMES.index(target.split()[0])
        seen = {
            "clean": list(shades.colours[row]),
            "untargeted": corner(shades.colours[row], others),
            "targeted": corner(shades.colours[row], {theirs}),
        }
        for wish, colour in seen.items():
            record = found[wish, sample]
            said = colour.index(max(colour))
            assert record["text"] == f"{world.NAMES[said]} again"
            assert record["original_top1"] == float(said == own)
            assert record["said"] == record["verbatim"] == float(record["text"] == target)
            reached = record["said"] if wish == "targeted" else float(said != own)
            assert record["reached"] == reached
            assert record["outcome"] == ("correct" if said == own else "wrong")
    kept = {found["untargeted", sample]["original_top1"] for sample in shades.ids}
    assert kept == {0.0, 1.0}
    assert any(found["targeted", sample]["said"] for sample in shades.ids)


@pytest.mark.parametrize(("purifier", "darker"), [("roll", 2), ("stiff", 0)])
def test_who_knows_the_purifier_climbs_through_it_or_straight_past_it(
    telling: Make, audited: Run, purifier: str, darker: int
) -> None:
    """Behind the roll red is seen where blue is; without its gradient red itself is darkened."""
    study = telling(
        attack={"name": "mortal", "keep_best": False}, knowledge=["clean", "oblivious", "adaptive"],
        defences=[{"name": "consensus", "purifier": f"python:tests.audit.single.world:{purifier}"}],
    )  # fmt: skip
    folder, audit = audited(study)
    reds = [f"shade-{row}" for row in (0, 3, 6)]
    forges = {path.name: AlteredSet(path) for path in (folder / "adversarial").iterdir()}
    assert len(forges) == 2
    found = set()
    for made in forges.values():
        away = made.images(reds) - torch.stack(
            [torch.tensor(world.Shades(9).colours[row])[:, None, None] / 255 for row in (0, 3, 6)]
        )
        channels = {tuple(c) for c in (away[:, :, 0, 0] < 0).nonzero()[:, 1].view(-1, 1).tolist()}
        assert len(channels) == 1
        found |= channels
    assert found == {(0,), (darker,)}
    assert [cell.knowledge for cell in audit.cells] == ["clean", "oblivious", "adaptive"]


def test_every_finger_is_as_reckoned_by_hand(pointing: Make, audited: Run) -> None:
    folder, audit = audited(pointing())
    found = rows(folder)
    assert len(found) == 4 * 8
    for (climbed, sample), record in found.items():
        number = int(sample.removesuffix(".png"))
        places = random.Random(number).sample(range(16), 2)
        x, y = record["peak"]
        place = int(4 * y) * 4 + int(4 * x)
        if climbed == "clean":
            assert place == places[number % 2]
            assert record["original_top1"] == 1 and record["iou50"] == 1
        if climbed == "recolour":
            assert place == places[1 - number % 2]
            assert record["original_top1"] == 0 and record["words"] == [1]
            assert record["inside"] < 0.05
        assert record["reached"] == 1 - record["original_top1"]
    by = {name(cell): cell for cell in audit.cells}
    assert by["clean"].metrics["pointing"].value == 1
    assert by["recolour"].metrics["pointing"].value == 0
    assert by["map"].metrics["pointing"].value < 0.5
    assert by["recolour"].metrics["words_changed"].value == 1


@pytest.mark.parametrize("which", ["telling", "pointing"])
def test_a_killed_run_goes_on_to_the_same_end(
    which: str, tmp_path: Path, audited: Run, request: pytest.FixtureRequest
) -> None:
    study = request.getfixturevalue(which)()
    whole, _ = audited(study)
    crafted_ = len(world.Mortal.made)
    for deadline in range(crafted_):
        world.Mortal.made.clear()
        world.Mortal.deadline = deadline
        folder = tmp_path / f"killed-{deadline}"
        with pytest.raises(KeyboardInterrupt):
            run_study(study, folder)
        world.Mortal.deadline = -1
        run_study(study, folder)
        assert len(world.Mortal.made) == crafted_
        assert (folder / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()


def test_half_written_files_are_made_again(telling: Make, audited: Run) -> None:
    study = telling()
    folder, _ = audited(study)
    before = (folder / "records.jsonl").read_bytes()
    part = next((folder / "adversarial").glob("*/00001.safetensors"))
    part.write_bytes(part.read_bytes()[:-9])
    lines = before.splitlines(keepends=True)
    (folder / "records.jsonl").write_bytes(b"".join(lines[:10]) + lines[10][:20])
    run_study(study, folder)
    assert (folder / "records.jsonl").read_bytes() == before


@pytest.mark.parametrize("which", ["telling", "pointing"])
def test_shards_make_the_whole(
    which: str, tmp_path: Path, audited: Run, request: pytest.FixtureRequest
) -> None:
    study = request.getfixturevalue(which)()
    whole, audit = audited(study)
    folders = [tmp_path / f"part-{i}" for i in (1, 2)]
    for i, folder in enumerate(folders, start=1):
        assert run_study(study, folder, Shard(i, 2)).cells
    merged = merge_runs(folders, tmp_path / "merged")
    same = {"metrics", "health", "outcomes", "id"}
    assert [c.model_dump(include=same) for c in merged.cells] == [
        c.model_dump(include=same) for c in audit.cells
    ]
    lines = [sorted(Log(f / "records.jsonl"), key=lambda r: (r["cell"], r["sample"]))
             for f in (whole, tmp_path / "merged")]  # fmt: skip
    assert lines[0] == lines[1]


@pytest.mark.parametrize("which", ["telling", "pointing"])
def test_batches_do_not_matter(which: str, audited: Run, request: pytest.FixtureRequest) -> None:
    make = request.getfixturevalue(which)
    defences = [{"name": "noise", "sigma": 0.05, "samples": 2}]
    few, many = (rows(audited(make(batch=size, defences=defences))[0], "noise") for size in (2, 9))
    assert few.keys() == many.keys()
    for key, row in few.items():
        for column in ("original_top1", "reached", "reached_worst", "outcome"):
            assert row[column] == many[key][column]


def test_a_randomised_model_is_asked_again(telling: Make, audited: Run) -> None:
    """Records hold the mean over fresh answers, and the worst of them."""
    defences = [{"name": "noise", "sigma": 1.0, "samples": 1}]
    found = rows(audited(telling(defences=defences, rescore=5))[0], "noise").values()
    assert {row["original_top1"] for row in found} - {0.0, 1.0}
    assert all(row["reached_worst"] == float(row["reached"] > 0) for row in found)
    assert all(5 * row["reached"] == pytest.approx(round(5 * row["reached"])) for row in found)


def test_words_that_are_drawn_are_drawn_again(telling: Make, audited: Run) -> None:
    """Red is drawn by its share of the light, once for each of many answers."""
    task = {"name": "captioning", "data": "shades:9", "samples": 0, "style": "sample"}
    folder, audit = audited(telling(task=task, rescore=40, knowledge=["clean"]))
    colours = world.Shades(9).colours
    for sample, record in ((sample, row) for (_, sample), row in rows(folder).items()):
        colour = colours[int(sample.removeprefix("shade-"))]
        chance = 128 / sum(colour)
        assert record["original_top1"] == pytest.approx(chance, abs=0.3)
        assert (40 * record["original_top1"]) % 1 == pytest.approx(0, abs=1e-6)
    steady = [check for check in audit.cells[0].health if check.check.startswith("deterministic")]
    assert steady[0].status == "pass"


def test_what_is_stored_is_believed_no_further_than_the_threat(telling: Make, audited: Run) -> None:
    study = telling()
    folder, _ = audited(study)
    made = plan(study, Telling(opened(study, None)))
    forge = next(cell.forge for cell in made.cells if cell.forge)
    batch = made.subject.batch(range(4), None)
    directory = Directory(folder)
    assert crafted(made, directory, forge, batch, 0).ids == batch.ids
    with pytest.raises(BrokenRun, match="is damaged"):
        crafted(made, directory, forge, made.subject.batch(range(1, 5), None), 0)
    moved = batch._replace(images=(batch.images + 0.1).clamp(0, 1))
    with pytest.raises(BrokenThreat, match="is above eps"):
        crafted(made, directory, forge, moved, 0)
