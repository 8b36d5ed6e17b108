"""Scenes with their five captions: the same scenes, to be searched instead of named."""

import torch

from secondlook import data
from secondlook.data.base import Captioned
from secondlook.scenes.captions import captions
from secondlook.scenes.sampling import sample


def test_the_same_scenes_with_five_captions_each() -> None:
    named = data.load("scenes:test", n=12)
    source = named.captioned()
    assert isinstance(source, Captioned)
    assert source.ids == named.ids and source.labeled() is named
    assert source.captioned() is source
    assert source.captions(7) == captions(sample(0, "test", 7))
    assert source.texts == tuple(text for row in range(12) for text in source.captions(row))
    assert source.owner == tuple(row for row in range(12) for _ in range(5))
    ours, theirs = source.read([7, 3], None), named.read([7, 3], None)
    assert torch.equal(ours.images, theirs.images)
    assert ours.truth.tolist() == [7, 3]


def test_captions_of_some_are_written_without_those_of_all() -> None:
    source = data.load("scenes:train", n=10**6).captioned()
    assert len(source.captions(999_999)) == 5


def test_another_style_has_the_same_captions_and_another_hash() -> None:
    plain, shifted = (data.load(f"scenes:{name}", n=4).captioned() for name in ("test", "shifted"))
    assert plain.texts == shifted.texts
    assert plain.hash != shifted.hash
    assert plain.hash != data.load("scenes:test", n=4).hash
