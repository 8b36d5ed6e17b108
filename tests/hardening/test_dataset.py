"""What a training reads: scenes, classes in folders, and captioned sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from secondlook.data import load as load_data
from secondlook.data.base import Captioned, Samples
from secondlook.errors import InvalidInput
from secondlook.hardening.dataset import SceneDataset, SourceDataset
from secondlook.randomness import Keys
from secondlook.scenes.captions import captions, class_names
from secondlook.scenes.sampling import sample
from secondlook.scenes.training.dataset import render_scenes
from tests.tiny import write_folder


def silent(done: int, of: int, what: str) -> None:
    """Nobody watches."""


@pytest.fixture(scope="module")
def scenes() -> SceneDataset:
    return SceneDataset(render_scenes(3, "val", 12, 1, silent), "val", 3)


def plain(text: str) -> str:
    return " ".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def test_scenes_come_with_class_and_captions_in_the_order_asked_for(scenes: SceneDataset) -> None:
    batch = scenes.read([7, 2])
    assert batch.ids == ("val-7", "val-2")
    for at, row in enumerate((7, 2)):
        scene = sample(3, "val", row)
        assert int(batch.truth[at]) == scene.label
        assert batch.captions[at] == tuple(plain(text) for text in captions(scene))
    assert float(batch.images.min()) >= 0 and float(batch.images.max()) <= 1
    assert scenes.texts()[5] == f"a picture of a {class_names()[5]}"


def test_a_world_and_a_part_of_it_have_hashes_of_their_own(scenes: SceneDataset) -> None:
    others = [SceneDataset(scenes.scenes, "test", 3), SceneDataset(scenes.scenes, "val", 4)]
    assert len({scenes.hash, *(each.hash for each in others)}) == 3


def test_a_folder_has_classes(tmp_path: Path) -> None:
    name = f"folder:{write_folder(tmp_path, 12)}"
    found = SourceDataset(load_data(name), "classes", (8, 8), name)
    batch = found.read([0, 11])
    assert batch.images.shape == (2, 3, 8, 8) and batch.captions == ()
    assert [found.classes[int(t)] for t in batch.truth] == ["blue", "yellow"]
    assert found.description == f"12 images of {name}"
    with pytest.raises(InvalidInput, match="have no captions"):
        SourceDataset(load_data(name), "captions", (8, 8), name)


@pytest.fixture
def captioned(tmp_path: Path) -> str:
    write_folder(tmp_path / "images", 6)
    files = sorted((tmp_path / "images").rglob("*.png"))
    told = [
        {"image": str(file.relative_to(tmp_path / "images")), "caption": [f"first of {row}", f"second of {row}"]}
        for row, file in enumerate(files)
    ]
    (tmp_path / "set.json").write_text(json.dumps(told))
    return f"sga:{tmp_path / 'set.json'}@{tmp_path / 'images'}"


def test_a_captioned_set_has_captions_and_no_classes(captioned: str) -> None:
    found = SourceDataset(load_data(captioned), "captions", (8, 8), captioned)
    batch = found.read([4, 1])
    assert batch.captions == (("first of 4", "second of 4"), ("first of 1", "second of 1"))
    assert found.has_captions and found.classes == ()
    with pytest.raises(InvalidInput, match="captions and no classes.*--method tecoa-itr"):
        SourceDataset(load_data(captioned), "classes", (8, 8), captioned)


def test_images_without_captions_are_named_before_the_first_step() -> None:
    class Half(Captioned):
        ids = ("a.png", "b.png", "c.png")
        texts, owner = ("one", "  ", "two"), (0, 1, 0)

        def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
            raise AssertionError

    with pytest.raises(InvalidInput, match=r"2 of 3 images of half:set have no caption, b\.png"):
        SourceDataset(Half(), "captions", None, "half:set")


def test_a_caption_is_drawn_by_the_key_of_its_image(scenes: SceneDataset) -> None:
    rows = list(range(12))
    batch, keys = scenes.read(rows), Keys.of(0, scenes.ids)
    drawn = batch.pick_captions(keys)
    back = scenes.read(rows[::-1]).pick_captions(keys[torch.arange(11, -1, -1)])
    assert drawn == back[::-1]
    places = {own.index(text) for own, text in zip(batch.captions, drawn, strict=True)}
    assert len(places) > 2
    assert drawn != batch.pick_captions(keys.fold("another step"))
