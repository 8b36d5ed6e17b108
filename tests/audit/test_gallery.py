"""The gallery shows what was judged: the stored adversarial, its change, its reconstructions."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from secondlook.audit.exhibit import Exhibit
from secondlook.audit.finish import _GALLERY
from secondlook.audit.gallery import THUMBNAIL, exhibits, magnified, picture
from secondlook.audit.plan import plan
from secondlook.audit.schema import Audit
from secondlook.audit.store import Run, load_tensors
from tests import tiny
from tests.audit.conftest import Whole


def pixels(encoded: str) -> torch.Tensor:
    image = Image.open(io.BytesIO(base64.b64decode(encoded)))
    assert image.format == "PNG" and image.mode == "RGB"
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)


@pytest.fixture(scope="module")
def shown(whole: Whole) -> list[Exhibit]:
    return _GALLERY.validate_json((whole.folder / "gallery.json").read_bytes())


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


def test_what_is_shown_is_what_was_judged(
    shown: list[Exhibit], whole: Whole, pictures: Path
) -> None:
    made = plan(tiny.study(pictures))
    assert len(shown) == 2 == made.study.exhibits
    for number, exhibit in enumerate(shown):
        (cell,) = [
            c for c in made.cells
            if (c.label, c.knowledge) == (exhibit.defence, exhibit.knowledge)
        ]  # fmt: skip
        assert cell.forge is not None
        held = load_tensors(Run(whole.folder).adversarial(cell.forge.id, 0))
        batch = made.task.batch(made.task.rows[:12], cell.defence.model)
        assert held is not None and exhibit.sample == batch.ids[number]
        assert torch.equal(pixels(exhibit.adversarial), held[0]["images"][number])
        assert torch.equal(pixels(exhibit.clean), (batch.images[number] * 255).byte())
        classes = cell.defence.model.classes
        assert exhibit.truth == classes[batch.truth[number]] == exhibit.sample.split("/")[0]
        assert exhibit.target == classes[batch.target[number]] != exhibit.truth


def test_answers_and_votes_are_those_of_the_records(shown: list[Exhibit], whole: Whole) -> None:
    from secondlook.audit.store import Log

    cells = {(c.defence, c.knowledge): c.id for c in whole.audit.cells}
    records = {(r["cell"], r["sample"]): r for r in Log(whole.folder / "records.jsonl")}
    for exhibit in shown:
        record = records[(cells[(exhibit.defence, exhibit.knowledge)], exhibit.sample)]
        assert exhibit.outcome == record["outcome"]
        assert exhibit.answer == tiny.COLOURS[record["answer"]]
        assert sum(ballot.votes for ballot in exhibit.votes) == record["draws"]
        votes = {ballot.label: ballot.votes for ballot in exhibit.votes}
        assert votes.get(exhibit.target, 0) == round(record["eta"] * record["draws"])
        assert exhibit.undefended_answer == exhibit.target


def test_reconstructions_are_the_voters_own(shown: list[Exhibit], pictures: Path) -> None:
    for exhibit in shown:
        adversarial = pixels(exhibit.adversarial).int()
        moves = [pixels(each).int() - adversarial for each in exhibit.reconstructions]
        # The purifier moves each channel as a whole, and otherwise with each draw.
        means = torch.stack([move.float().mean((1, 2)) for move in moves])
        assert len(moves) == 4 and len({str(row.tolist()) for row in means}) == 4
        assert all((move - move.float().mean((1, 2), True)).abs().max() <= 1 for move in moves)


def test_the_strongest_eps_is_shown_and_defences_take_turns(
    audited: Callable[..., Audit], tmp_path: Path
) -> None:
    audited(
        threat={"eps": ["2/255", "16/255"]}, exhibits=3, knowledge=["oblivious", "adaptive"],
        defences=[{"name": "undefended"}, {"name": "jpeg"}, {"name": "noise", "samples": 3}],
    )  # fmt: skip
    (path,) = tmp_path.glob("*/gallery.json")
    shown = _GALLERY.validate_json(path.read_bytes())
    assert [(e.defence, e.knowledge) for e in shown] == [
        ("jpeg", "oblivious"), ("jpeg", "adaptive"), ("noise", "oblivious"),
    ]  # fmt: skip
    for exhibit in shown:
        change = pixels(exhibit.adversarial).int() - pixels(exhibit.clean).int()
        assert 2 < change.abs().max() <= 16
        assert len(exhibit.reconstructions) == (1 if exhibit.defence == "jpeg" else 3)


@pytest.mark.parametrize(
    "changes",
    [{"exhibits": 0}, {"defences": [{"name": "undefended"}]}, {"knowledge": ["clean"]}],
    ids=["none wanted", "nothing reconstructs", "nothing attacked"],
)
def test_without_anything_to_show_there_is_a_report_all_the_same(
    audited: Callable[..., Audit], tmp_path: Path, changes: dict[str, object]
) -> None:
    audited(**changes)
    (path,) = tmp_path.glob("*/gallery.json")
    assert path.read_text() == "[]" and (path.parent / "report.html").exists()


def test_a_run_without_its_first_chunk_has_no_gallery(pictures: Path, tmp_path: Path) -> None:
    assert exhibits(plan(tiny.study(pictures)), Run(tmp_path)) == []
