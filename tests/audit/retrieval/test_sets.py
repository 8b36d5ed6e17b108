"""Adversarial sets on disk: read again with their provenance, and used on another model."""

from pathlib import Path

import pytest
import torch

from secondlook import registry
from secondlook.audit.retrieval.rescore import rescored
from secondlook.audit.retrieval.sets import AlteredSet
from secondlook.audit.schema import Audit
from secondlook.errors import BrokenRun, InvalidInput
from secondlook.tasks.retrieval import RetrievalTask
from tests.audit.retrieval import dials
from tests.audit.retrieval.conftest import Run

TASK = RetrievalTask(data="dials:10", samples=0)


def stored(folder: Path) -> Path:
    (found,) = (folder / "adversarial").iterdir()
    return found


def metrics(audit: Audit, setting: str) -> dict[str, float]:
    (cell,) = (c for c in audit.cells if c.settings["attack"].get("attacked") == setting)
    return {name: each.value for name, each in cell.metrics.items()}


def test_images_captions_and_where_they_come_from(audited: Run) -> None:
    folder, _ = audited()
    found, task = AlteredSet(stored(folder)), TASK.open()
    assert found.ids == task.ids
    assert found.captions == tuple(dials.turned(texts) for texts in task.captions)
    clean = task.batch(range(10), None).pairs.images
    assert found.images(found.ids).shape == clean.shape
    assert (found.images(found.ids) - clean).abs().amax() == pytest.approx(40 / 255, abs=1e-6)
    backwards = found.ids[::-1]
    assert torch.equal(found.images(backwards), found.images(found.ids).flip(0))
    assert found.about["threat"] == "L∞ 40/255"
    assert found.about["attack"]["name"] == "swap"
    assert found.about["victims"] == ["tiny:dial"]
    assert found.about["data"] == task.source.hash
    assert found.about["models"] == {"tiny:dial": dials.dial().hash}
    assert found.cost["forwards"] == 2 * 10


def test_scored_again_it_is_what_the_run_has_found(audited: Run) -> None:
    folder, audit = audited()
    for setting in ("query", "gallery", "both"):
        again = rescored(stored(folder), dials.dial(), TASK, setting)  # type: ignore[arg-type]
        assert {k: v.value for k, v in again.metrics.items()} == pytest.approx(
            metrics(audit, setting)
        )


def test_on_another_model_it_is_the_transfer_row(audited: Run) -> None:
    """A set crafted on one model, scored by another: as a study with the first as surrogate."""
    folder, _ = audited()
    names = ["python:tests.audit.retrieval.dials:tilted", "python:tests.audit.retrieval.dials:dial"]
    _, transfer = audited(models=names[:1], surrogates=names[1:], knowledge=["clean", "transfer"])
    again = rescored(stored(folder), dials.tilted(), TASK)
    assert {k: v.value for k, v in again.metrics.items()} == pytest.approx(
        metrics(transfer, "both")
    )


def test_a_part_of_the_images_is_searched_by_itself(audited: Run) -> None:
    folder, _ = audited()
    few = RetrievalTask(data="dials:10", samples=4)
    assert rescored(stored(folder), dials.dial(), few).denominators["image_to_text_r1"] == 4


def test_sets_that_do_not_fit(audited: Run, tmp_path: Path) -> None:
    folder, _ = audited()
    with pytest.raises(BrokenRun, match="holds no adversarial set"):
        AlteredSet(tmp_path / "nowhere")
    with pytest.raises(InvalidInput, match="was made of other data than dials:9"):
        rescored(stored(folder), dials.dial(), RetrievalTask(data="dials:9", samples=0))
    with pytest.raises(BrokenRun, match="has no image x"):
        AlteredSet(stored(folder)).images(["x"])
    first = sorted(stored(folder).iterdir())[0]
    first.unlink()
    with pytest.raises(InvalidInput, match=r"\(4 of 10 are missing\)"):
        rescored(stored(folder), dials.dial(), TASK)
    first.write_bytes(b"nothing")
    with pytest.raises(BrokenRun, match="is no part of a set"):
        AlteredSet(stored(folder))


def test_every_file_of_a_set_is_of_one_attack(audited: Run) -> None:
    (one, _), (other, _) = audited(), audited(seed=1)
    theirs = sorted(stored(other).iterdir())[1]
    (stored(one) / theirs.name).write_bytes(theirs.read_bytes())
    with pytest.raises(BrokenRun, match="is of another attack than"):
        AlteredSet(stored(one))


def test_the_world_of_these_tests_is_told_apart() -> None:
    assert registry.digest("dials:10") != registry.digest("dials:9")
    assert dials.Colours(10).hash != dials.Colours(9).hash
