"""The embedded world behind the same door as data on disk."""

import pytest
import torch

from secondlook import data
from secondlook.errors import InvalidInput, UnknownName
from secondlook.scenes.captions import PROMPT, class_names
from secondlook.scenes.source import render_batch


def test_rows_are_the_scenes_of_their_index() -> None:
    source = data.load("scenes:test")
    assert len(source) == 1000
    assert source.ids[17] == "test-17"
    assert (source.classes, source.prompt) == (class_names(), PROMPT)
    samples = source.read([17, 3], None)
    scenes = render_batch(0, "test", [17, 3])
    assert torch.equal(samples.truth, torch.from_numpy(scenes.labels))
    expected = torch.from_numpy(scenes.images).permute(0, 3, 1, 2).float() / 255
    assert torch.equal(samples.images, expected)


def test_size_and_seed() -> None:
    source = data.load("scenes:val", n=3, seed=5)
    assert source.ids == ("val-0", "val-1", "val-2")
    assert source.read([0], (32, 32)).images.shape == (1, 3, 32, 32)
    assert torch.equal(source.read([0], (64, 64)).images, source.read([0], None).images)
    assert source.hash != data.load("scenes:val", n=3).hash


def test_bad_names_and_rows() -> None:
    with pytest.raises(UnknownName, match="did you mean test"):
        data.load("scenes:tset")
    with pytest.raises(InvalidInput, match="write scenes:test"):
        data.load("scenes")
    with pytest.raises(InvalidInput, match="n=0"):
        data.load("scenes:test", n=0)
    with pytest.raises(InvalidInput, match="no rows"):
        data.load("scenes:test").read([], None)
    with pytest.raises(IndexError):
        data.load("scenes:test", n=3).read([3], None)
    assert set(data.listed("scenes")) == {"test", "val", "train", "calibration", "shifted"}


def test_shifted_scenes_are_the_same_scenes_seen_otherwise() -> None:
    """Truth stays; every picture changes, each in its own way, and the same way each time."""
    plain, shifted = data.load("scenes:test"), data.load("scenes:shifted")
    rows = range(6)
    ours, theirs = plain.read(rows, None), shifted.read(rows, None)
    assert torch.equal(ours.truth, theirs.truth)
    assert torch.equal(theirs.images, shifted.read(rows, None).images)
    assert torch.equal(theirs.images[3:4], shifted.read([3], None).images)
    assert shifted.hash != plain.hash
    casts = (theirs.images - ours.images).mean((2, 3))
    assert (theirs.images - ours.images).abs().mean((1, 2, 3)).min() > 0.01
    assert len(torch.unique(casts, dim=0)) == 6
