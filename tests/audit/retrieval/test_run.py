"""What is searched and found, and that kills, shards and batches do not change it."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secondlook.audit.api import merge_runs, run_study
from secondlook.audit.retrieval.craft import check
from secondlook.audit.retrieval.plan import plan
from secondlook.audit.retrieval.sets import load_part
from secondlook.audit.run import Shard
from secondlook.audit.store import Log
from secondlook.errors import BrokenRun, BrokenThreat
from secondlook.threat import Threat
from tests.audit.retrieval import dials
from tests.audit.retrieval.conftest import Make, Run

Row = dict[str, Any]


def rows(folder: Path) -> dict[tuple[str, str], Row]:
    """Records by the setting of their row, ``clean`` or what is attacked, and image."""
    audit = json.loads((folder / "audit.json").read_text())
    settings = {
        cell["id"]: cell["settings"]["attack"].get("attacked", "clean") for cell in audit["cells"]
    }
    return {(settings[r["cell"]], r["sample"]): r for r in Log(folder / "records.jsonl")}


def reckoned(eps: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Unit vectors of all images and texts, clean and altered, reckoned without the package."""
    world = dials.Colours(10)
    colours = np.array(world.colours) / 255
    clean = colours - 128 / 255
    step = np.floor(255 * eps + 1e-6) / 255
    moved = np.clip(colours - step * np.sign(clean), 0, 1) - 128 / 255
    said = [[int(word) for word in text.split() if word.isdigit()] for text in world.texts]
    words = np.array(said, dtype=float)
    turned = words.copy()
    turned[:, 0] = 256 - turned[:, 0]
    vectors = {
        "clean": (clean, words / 255 - 128 / 255),
        "altered": (moved, turned / 255 - 128 / 255),
    }
    return {
        name: tuple(v / np.linalg.norm(v, axis=1, keepdims=True) for v in pair)  # type: ignore[misc]
        for name, pair in vectors.items()
    }


def rank(scores: np.ndarray, right: list[int]) -> int:
    """Among what is wrong, whatever is not clearly below the best that is right comes first."""
    wrong = np.delete(scores, right)
    return 1 + int((wrong > scores[right].max() - 1e-6).sum())


SIDES = {
    "clean": ("clean", "clean"), "query": ("altered", "clean"), "gallery": ("clean", "altered"),
    "both": ("altered", "altered"),
}  # fmt: skip


def test_every_rank_is_as_reckoned_by_hand(audited: Run) -> None:
    folder, _ = audited()
    found, vectors, world = rows(folder), reckoned(40 / 255), dials.Colours(10)
    assert len(found) == 4 * 10
    for setting, (asks, answers) in SIDES.items():
        (images, texts), (other_images, other_texts) = vectors[asks], vectors[answers]
        for row, name in enumerate(world.ids):
            record = found[setting, name]
            own = [t for t, owner in enumerate(world.owner) if owner == row]
            assert record["image_to_text"] == rank(other_texts @ images[row], own)
            assert record["text_to_image"] == [rank(other_images @ texts[t], [row]) for t in own]
            alike = [t for t, rows in enumerate(world.bearers) if row in rows]
            assert record["alike_image_to_text"] == rank(other_texts @ images[row], alike)
            assert record["alike_text_to_image"] == [
                rank(other_images @ texts[t], list(world.bearers[t])) for t in own
            ]
    assert found["clean", "colour-0"]["image_to_text"] == 2
    assert found["clean", "colour-0"]["alike_image_to_text"] == 1
    assert any(found["both", name]["image_to_text"] > 1 for name in world.ids)


def test_a_killed_run_goes_on_to_the_same_end(study: Make, tmp_path: Path, audited: Run) -> None:
    config, (whole, _) = study(), audited()
    crafted = len(dials.Swap.made)
    for deadline in range(crafted):
        dials.Swap.made.clear()
        dials.Swap.deadline = deadline
        folder = tmp_path / f"killed-{deadline}"
        with pytest.raises(KeyboardInterrupt):
            run_study(config, folder)
        dials.Swap.deadline = -1
        run_study(config, folder)
        assert len(dials.Swap.made) == crafted
        assert (folder / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()


def test_half_written_files_are_made_again(study: Make, audited: Run) -> None:
    folder, _ = audited()
    before = (folder / "records.jsonl").read_bytes()
    part = next((folder / "adversarial").glob("*/00001.safetensors"))
    part.write_bytes(part.read_bytes()[:-9])
    lines = before.splitlines(keepends=True)
    (folder / "records.jsonl").write_bytes(b"".join(lines[:13]) + lines[13][:20])
    run_study(study(), folder)
    assert (folder / "records.jsonl").read_bytes() == before


def test_shards_craft_and_the_whole_is_searched(study: Make, tmp_path: Path, audited: Run) -> None:
    whole, audit = audited()
    folders = [tmp_path / f"part-{i}" for i in (1, 2)]
    for i, folder in enumerate(folders, start=1):
        assert run_study(study(), folder, Shard(i, 2)).cells == []
        assert not (folder / "records.jsonl").exists()
    merged = merge_runs(folders, tmp_path / "merged")
    same = {"metrics", "denominators", "health", "outcomes", "id"}
    assert [c.model_dump(include=same) for c in merged.cells] == [
        c.model_dump(include=same) for c in audit.cells
    ]
    records = (tmp_path / "merged" / "records.jsonl").read_bytes()
    assert records == (whole / "records.jsonl").read_bytes()
    with pytest.raises(BrokenRun, match="is missing, and a search needs all of it"):
        merge_runs(folders[:1], tmp_path / "half")


def test_batches_do_not_matter(audited: Run) -> None:
    few, many = (rows(audited(batch=size)[0]) for size in (3, 10))
    for key, row in few.items():
        other = many[key]
        assert {k: v for k, v in row.items() if k not in ("cell", "caption_cosine")} == {
            k: v for k, v in other.items() if k not in ("cell", "caption_cosine")
        }


def test_the_judge_believes_no_stored_image(audited: Run, study: Make) -> None:
    folder, _ = audited()
    path = next((folder / "adversarial").glob("*/00000.safetensors"))
    part, made = load_part(path), plan(study())
    assert part is not None
    forge, batch = made.forges[0], made.task.batch(range(4), None)
    check(part, batch, forge)
    with pytest.raises(BrokenThreat, match="is above eps"):
        check(part, batch, replace(forge, threat=Threat(eps=39 / 255)))
    texts = (("red 1 green 2 blue 3", *part.pairs.captions[0][1:]), *part.pairs.captions[1:])
    with pytest.raises(BrokenThreat, match="3 words changed"):
        check(part._replace(pairs=part.pairs._replace(captions=texts)), batch, forge)


def test_a_chunk_that_does_not_fit_is_attacked_in_parts(
    audited: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the same records, and a word of it beside them."""
    (whole, _), search = audited(), dials.Swap.search

    def short(self: Any, victims: Any, pairs: Any, threat: Any, keys: Any) -> Any:
        if len(pairs.images) > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory")
        return search(self, victims, pairs, threat, keys)

    monkeypatch.setattr(dials.Swap, "search", short)
    folder, audit = audited()
    assert (folder / "records.jsonl").read_bytes() == (whole / "records.jsonl").read_bytes()
    notices = [cell.notices for cell in audit.cells if cell.knowledge == "adaptive"]
    assert all("attacked 2 at a time" in told for (told,) in notices)
