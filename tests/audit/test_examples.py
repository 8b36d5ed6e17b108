"""The gallery shows what was judged: the stored adversarial, its change, its reconstructions."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from secondlook.audit.examples import examples, read_examples
from secondlook.audit.plan import plan
from secondlook.audit.store import Run, load_tensors
from secondlook.schema import Audit
from secondlook.tasks.classification import ClassExample
from secondlook.tasks.view import THUMBNAIL, magnified, picture
from tests import tiny
from tests.audit.conftest import Whole


def pixels(encoded: str) -> torch.Tensor:
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert image.format == "PNG" and image.mode == "RGB"
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


@pytest.fixture(scope="module")
def shown(whole: Whole) -> list[Any]:
    return read_examples(whole.folder / "gallery.json")


def test_a_picture_is_its_pixels() -> None:
    x = torch.arange(3 * 8 * 8).reshape(3, 8, 8).float() / 255
    assert torch.equal(pixels(picture(x)), (x * 255).byte())
    assert pixels(picture(torch.full((3, 1, 1), 1.3))).flatten().tolist() == [255, 255, 255]


def test_a_large_picture_becomes_a_thumbnail_of_its_own_shape() -> None:
    assert pixels(picture(torch.rand(3, 400, 200))).shape == (3, THUMBNAIL, THUMBNAIL // 2)


def test_a_change_is_magnified_around_grey() -> None:
    delta = torch.tensor([-2.0, 0, 1]).view(3, 1, 1) / 255
    assert magnified(delta).flatten().tolist() == pytest.approx([0, 0.5, 0.75])
    assert torch.equal(magnified(torch.zeros(3, 2, 2)), torch.full((3, 2, 2), 0.5))


def test_what_is_shown_is_what_was_judged(shown: list[ClassExample], whole: Whole, pictures: Path) -> None:
    made = plan(tiny.study(pictures))
    assert len(shown) == 5 == made.study.examples
    for number, example in enumerate(shown):
        (row,) = [row for row in made.rows if (row.label, row.knowledge) == (example.defense, example.knowledge)]
        assert row.spec is not None
        held = load_tensors(Run(whole.folder).adversarial(row.spec.id, 0))
        batch = made.task.batch(range(12), row.guarded)
        assert held is not None and example.sample == batch.ids[number]
        assert torch.equal(pixels(example.adversarial), held[0]["images"][number])
        assert torch.equal(pixels(example.clean), (batch.pairs.images[number] * 255).byte())
        classes = batch.classes
        assert example.truth == classes[batch.truth[number]] == example.sample.split("/")[0]
        assert example.target == classes[batch.target[number]] != example.truth


def test_answers_and_votes_are_those_of_the_records(shown: list[ClassExample], whole: Whole) -> None:
    from secondlook.audit.store import Log

    cells = {(c.defense, c.knowledge): c.id for c in whole.audit.cells}
    records = {(r["cell"], r["sample"]): r for r in Log(whole.folder / "records.jsonl")}
    for example in shown:
        record = records[(cells[(example.defense, example.knowledge)], example.sample)]
        assert example.outcome == record["outcome"]
        assert example.answer == tiny.COLORS[record["answer"]]
        assert sum(ballot.votes for ballot in example.votes) == record["draws"]
        votes = {ballot.label: ballot.votes for ballot in example.votes}
        assert votes.get(example.target, 0) == round(record["eta"] * record["draws"])
        assert example.undefended_answer == example.target


def test_reconstructions_are_the_voters_own(shown: list[ClassExample], pictures: Path) -> None:
    behind = [example for example in shown if example.defense != "undefended"]
    assert behind and all(not e.reconstructions for e in shown if e not in behind)
    for example in behind:
        adversarial = pixels(example.adversarial).int()
        moves = [pixels(each).int() - adversarial for each in example.reconstructions]
        # The purifier moves each channel as a whole, and otherwise with each draw.
        means = torch.stack([move.float().mean((1, 2)) for move in moves])
        assert len(moves) == 4 and len({str(row.tolist()) for row in means}) == 4
        assert all((move - move.float().mean((1, 2), True)).abs().max() <= 1 for move in moves)


def test_the_strongest_eps_is_shown_and_defenses_take_turns(audited: Callable[..., Audit], tmp_path: Path) -> None:
    audited(
        threat={"eps": ["2/255", "16/255"]},
        examples=4,
        knowledge=["oblivious", "adaptive"],
        defenses=[{"name": "undefended"}, {"name": "jpeg"}, {"name": "noise", "samples": 3}],
    )
    (path,) = tmp_path.glob("*/gallery.json")
    shown = read_examples(path)
    assert [(e.defense, e.knowledge) for e in shown] == [
        ("undefended", "adaptive"),
        ("jpeg", "oblivious"),
        ("jpeg", "adaptive"),
        ("noise", "oblivious"),
    ]
    for example in shown:
        change = pixels(example.adversarial).int() - pixels(example.clean).int()
        assert 2 < change.abs().max() <= 16
        views = {"undefended": 0, "jpeg": 1, "noise": 3}[example.defense]
        assert len(example.reconstructions) == views


@pytest.mark.parametrize(
    "changes", [{"examples": 0}, {"knowledge": ["clean"]}], ids=["none wanted", "nothing attacked"]
)
def test_without_anything_to_show_there_is_a_report_all_the_same(
    audited: Callable[..., Audit], tmp_path: Path, changes: dict[str, object]
) -> None:
    audited(**changes)
    (path,) = tmp_path.glob("*/gallery.json")
    assert path.read_text() == "[]" and (path.parent / "report.html").exists()


def test_a_run_without_its_first_chunk_has_no_gallery(pictures: Path, tmp_path: Path) -> None:
    assert examples(plan(tiny.study(pictures)), Run(tmp_path)) == []
