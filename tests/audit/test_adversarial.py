"""Adversarial sets on disk: read again with their provenance, whole, and of one attack."""

from pathlib import Path

import pytest
import torch

from secondlook.audit.adversarial import Adversarial, AdversarialSet, is_whole, load_part, save_part
from secondlook.errors import BrokenRun
from secondlook.models import load
from secondlook.tasks.retrieval import RetrievalTask
from tests.audit import dials
from tests.audit.conftest import DIALS, Make, Run

TASK = RetrievalTask(data="dials:10", samples=0)
COST = {"forwards": 3, "backwards": 0, "seconds": 0.5, "peak_memory": 9}


def stored(folder: Path) -> Path:
    (found,) = (folder / "adversarial").iterdir()
    return found


def test_images_captions_and_where_they_come_from(ran: Run, retrieval: Make) -> None:
    folder, _ = ran(retrieval())
    found, task = AdversarialSet(stored(folder)), TASK.open()
    assert found.ids == task.ids
    assert found.captions == tuple(dials.turned(texts) for texts in task.captions)
    clean = task.read(range(10), None).pairs.images
    assert found.images(range(10)).shape == clean.shape
    assert (found.images(range(10)) - clean).abs().amax() == pytest.approx(40 / 255, abs=1e-6)
    assert torch.equal(found.images([9, 2, 2]), found.named([found.ids[at] for at in (9, 2, 2)]))
    backwards = found.ids[::-1]
    assert torch.equal(found.named(backwards), found.named(found.ids).flip(0))
    assert found.about["threat"] == "L∞ 40/255"
    assert found.about["attack"]["name"] == "swap"
    assert found.about["victims"] == ["tiny:dial"]
    assert found.about["data"] == task.source.hash
    assert found.about["models"] == {"tiny:dial": load(f"{DIALS}:dial").hash}
    assert found.cost["forwards"] == 2 * 10


def test_a_part_comes_back_as_an_8_bit_file_holds_it(tmp_path: Path) -> None:
    made = Adversarial(
        images=torch.tensor([0.1, 0.5]).view(2, 1, 1, 1).expand(2, 3, 4, 4),
        captions=(("a", "b"), ("c",)),
        notices=("half of it is weak",),
        by=torch.tensor([1, -1]),
        members=("timid", "bold"),
    )
    path = tmp_path / "set" / "00000.safetensors"
    save_part(path, ["x", "y"], made, {"spec": "s", "cost": COST})
    part = load_part(path)
    assert part is not None and is_whole(path) and part.ids == ("x", "y")
    assert torch.equal(part.adversarial.images, (made.images * 255).round() / 255)
    assert part.adversarial.captions == made.captions and part.adversarial.trace is None
    assert part.adversarial.by is not None and part.adversarial.by.tolist() == [1, -1]
    assert part.adversarial.members == made.members and part.adversarial.notices == made.notices
    assert part.about == {"spec": "s", "cost": COST}
    path.write_bytes(path.read_bytes()[:-1])
    assert not is_whole(path) and load_part(path) is None


def test_what_is_no_set_is_told(ran: Run, retrieval: Make, tmp_path: Path) -> None:
    folder, _ = ran(retrieval())
    with pytest.raises(BrokenRun, match="holds no adversarial set"):
        AdversarialSet(tmp_path / "nowhere")
    with pytest.raises(BrokenRun, match="has no image x"):
        AdversarialSet(stored(folder)).named(["x"])
    sorted(stored(folder).iterdir())[0].write_bytes(b"nothing")
    with pytest.raises(BrokenRun, match="is damaged, or no part of an adversarial set; the audit that made"):
        AdversarialSet(stored(folder))


def test_every_file_of_a_set_is_of_one_attack(ran: Run, retrieval: Make) -> None:
    (one, _), (other, _) = ran(retrieval()), ran(retrieval(seed=1))
    theirs = sorted(stored(other).iterdir())[1]
    (stored(one) / theirs.name).write_bytes(theirs.read_bytes())
    with pytest.raises(BrokenRun, match="is of another attack than"):
        AdversarialSet(stored(one))
