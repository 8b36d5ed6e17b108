"""The world from above behind the same door as data on disk."""

import pytest
import torch

from secondlook import data
from secondlook.errors import InvalidInput, UnknownName
from secondlook.scenes.overhead.captions import PROMPT, captions, class_names
from secondlook.scenes.overhead.renderer import render
from secondlook.scenes.overhead.world import sample
from secondlook.tasks.classification import ZeroShotTask
from secondlook.tasks.retrieval import RetrievalTask


def test_rows_are_the_sites_of_their_index() -> None:
    source = data.load("overhead:test")
    assert len(source) == 1000 and source.ids[17] == "overhead-test-17"
    assert (source.classes, source.prompt) == (class_names(), PROMPT)
    samples = source.read([17, 3], None)
    for image, truth, row in zip(samples.images, samples.truth, (17, 3), strict=True):
        site = sample(0, "test", row)
        pixels = torch.from_numpy(render(site)).permute(2, 0, 1).float() / 255
        assert torch.equal(image, pixels) and int(truth) == site.label


def test_a_site_has_its_captions() -> None:
    source = data.load("overhead:val", n=4).captioned()
    assert source.captions(2) == captions(sample(0, "val", 2))
    assert len(source.texts) == 20 and source.owner[7] == 1
    assert source.read([3], (32, 32)).truth.tolist() == [3]
    assert source.labeled().classes == class_names()
    assert source.hash != source.labeled().hash


def test_splits_and_seeds_are_different_sets() -> None:
    hashes = {data.load(f"overhead:{split}", seed=seed).hash for split in data.listed("overhead") for seed in (0, 1)}
    assert len(hashes) == 8


def test_bad_names_and_rows() -> None:
    with pytest.raises(UnknownName, match="did you mean test"):
        data.load("overhead:tset")
    with pytest.raises(InvalidInput, match="n=0"):
        data.load("overhead:test", n=0)
    with pytest.raises(IndexError):
        data.load("overhead:test", n=3).read([3], None)


def test_naming_and_searching_open_on_it() -> None:
    task = ZeroShotTask(data="overhead:test", samples=5).open()
    assert task.source.classes == class_names()
    searching = RetrievalTask(data="overhead:test", samples=5).open()
    assert len(searching.texts) == 25
