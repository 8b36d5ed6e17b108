"""Referring expressions: sentences, boxes, and images that are stretched and never cropped."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from secondlook import data
from secondlook.data import images
from secondlook.data.refcoco import Grounded
from secondlook.errors import InvalidInput


def load(folder: Path, content: Any) -> Grounded:
    path = folder / "refs.json"
    path.write_text(json.dumps(content))
    source = data.load(f"refcoco:{path}")
    assert isinstance(source, Grounded)
    return source


@pytest.fixture
def two(tmp_path: Path) -> Path:
    wide = Image.new("L", (40, 20), 0)
    wide.paste(255, (0, 0, 10, 20))
    wide.save(tmp_path / "wide.png")
    Image.new("L", (10, 20), 128).save(tmp_path / "tall.png")
    return tmp_path


REFS = [
    {"image": "wide.png", "sentence": "the bright part", "bbox": [0, 0, 10, 20]},
    {"image": "tall.png", "sentence": "all of it", "bbox": [0, 0, 10.0, 20]},
    {"image": "wide.png", "sentences": ["the dark part", "shade"], "bbox": [10, 0, 30, 20]},
]


def test_sentences_of_an_image_are_put_together(two: Path) -> None:
    source = load(two, REFS)
    assert source.ids == ("wide.png", "tall.png")
    assert source.texts == ("the bright part", "the dark part", "shade", "all of it")
    assert source.owner == (0, 0, 0, 1)
    assert source.boxes([3, 2, 0]).tolist() == [[0, 0, 1, 1], [0.25, 0, 0.75, 1], [0, 0, 0.25, 1]]
    assert source.boxes([]).shape == (0, 4)


def test_a_box_holds_at_every_size(two: Path) -> None:
    source = load(two, REFS)
    x = source.read([0], (30, 80)).images[0, 0]
    left, top, width, height = (source.boxes([0])[0] * torch.tensor([80, 30, 80, 30])).int()
    assert (left, top, width, height) == (0, 0, 20, 30)
    assert x[:, : width - 4].min() > 0.95
    assert x[:, width + 4 :].max() < 0.05
    assert source.read([1, 0], (16, 16)).truth.tolist() == [1, 0]
    with pytest.raises(InvalidInput, match=r"size=\(0, 4\) must be 1 or more"):
        source.read([0], (0, 4))


def test_hash_goes_by_the_boxes(two: Path) -> None:
    moved = [*REFS[:2], {**REFS[2], "bbox": [11, 0, 29, 20]}]
    assert load(two, REFS).hash != load(two, moved).hash


@pytest.mark.parametrize("bbox", [None, [], [0, 0, 1], [0, 0, 0, 5], [-1, 0, 3, 3], ["0", 0, 1, 1], [0, 0, 1, True]])
def test_boxes_that_are_none(two: Path, bbox: Any) -> None:
    with pytest.raises(InvalidInput, match=r"refs\.json\[1\]: bbox is .*write \[left, top, width"):
        load(two, [REFS[0], {**REFS[1], "bbox": bbox}])


def test_boxes_outside_of_their_image(two: Path) -> None:
    # Corners, right and bottom, where width and height belong.
    source = load(two, [{**REFS[0], "bbox": [30, 5, 40, 20]}])
    with pytest.raises(InvalidInput, match=r"refs\.json\[0\]: bbox \[30\.0, .*reaches out .*40x20"):
        source.boxes([0])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([{"image": "wide.png", "bbox": [0, 0, 1, 1]}], "'sentence' is nothing"),
        ([{**REFS[0], "sentences": []}], "'sentences' must be a list of one text or more"),
        ([{**REFS[0], "image": "z.png"}, REFS[1]], r"names image z\.png, which is not in"),
        ([], r"refs\.json holds no image"),
    ],
)
def test_broken_references(two: Path, content: Any, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        load(two, content)


def test_extent_is_that_of_the_upright_picture(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "a.jpg"
    Image.new("L", (40, 20)).save(path, exif=exif)
    assert images.extent(path) == (40, 20) == tuple(images.read(path, None).shape[-2:])
    Image.new("L", (40, 20)).save(path)
    assert images.extent(path) == (20, 40)
    path.write_bytes(b"text")
    with pytest.raises(InvalidInput, match=r"a\.jpg cannot be read as an image"):
        images.extent(path)
