"""Retrieval as a task: what is chosen, what answers what, and what is refused."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from secondlook import data
from secondlook.data.base import Captioned, Samples
from secondlook.errors import InvalidInput
from secondlook.metrics.ranks import ranks
from secondlook.metrics.retrieval import recall
from secondlook.models import load
from secondlook.tasks.retrieval import OpenRetrieval, RetrievalTask
from tests import tiny


class Said(Captioned):
    """Grey images with given captions."""

    def __init__(self, **captions: Sequence[str]) -> None:
        self.ids = tuple(captions)
        self.texts = tuple(text for texts in captions.values() for text in texts)
        self.owner = tuple(row for row, texts in enumerate(captions.values()) for _ in texts)

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        levels = torch.tensor([float(row) for row in rows]) / 255
        return Samples(levels[:, None, None, None].expand(-1, 3, 2, 2), torch.tensor(list(rows)))


def opened(source: Captioned, **settings: object) -> OpenRetrieval:
    task = RetrievalTask(**{"samples": 0, **settings})  # type: ignore[arg-type]
    return OpenRetrieval(task, source)


def test_who_answers_whom_when_captions_say_the_same() -> None:
    task = opened(Said(a=["A dog .", "one"], b=["a dog", "two"], c=["three"]))
    assert sorted(task.ids) == ["a", "b", "c"]
    at = {name: row for row, name in enumerate(task.ids)}
    text = {words: row for row, words in enumerate(task.texts)}
    dogs = {text["A dog ."], text["a dog"]}
    assert task.own.texts[at["a"]] == (text["A dog ."], text["one"])
    assert task.own.images[text["a dog"]] == (at["b"],)
    assert set(task.alike.texts[at["a"]]) == dogs | {text["one"]}
    assert set(task.alike.texts[at["b"]]) == dogs | {text["two"]}
    assert task.alike.texts[at["c"]] == (text["three"],)
    assert set(task.alike.images[text["a dog"]]) == {at["a"], at["b"]}
    assert task.alike.images[text["two"]] == (at["b"],)


def test_all_images_have_the_bearers_of_their_source() -> None:
    source = Said(a=["x", "y"], b=["X ."], c=["z"], d=["Y", "x."])
    task = opened(source)
    for text, images in zip(task.texts, task.alike.images, strict=True):
        rows = {task.rows[image] for image in images}
        assert rows == set(source.positives[source.texts.index(text)])


def test_samples_are_drawn_by_name_and_read_in_their_order() -> None:
    source = Said(**{f"i{n}": [f"caption {n}", f"other {n}"] for n in range(20)})
    some, all_ = opened(source, samples=5), opened(source)
    assert some.ids == all_.ids[:5] != opened(source, samples=5, seed=1).ids
    batch = some.read([3, 1], None)
    assert batch.ids == (some.ids[3], some.ids[1])
    assert (batch.pairs.images[:, 0, 0, 0] * 255).round().tolist() == [some.rows[3], some.rows[1]]
    assert batch.pairs.captions == (some.captions[3], some.captions[1])
    assert opened(source, captions=1).captions[0] == all_.captions[0][:1]


def test_captions_as_sga_prepares_them() -> None:
    source = Said(a=["A Well-Kept dog!"], b=["Two."])
    assert set(opened(source, form="sga").texts) == {"a well kept dog", "two"}
    assert set(opened(source).texts) == set(source.texts)


def test_scenes_have_five_captions_each_and_names() -> None:
    task = RetrievalTask(samples=3).open()
    assert list(map(len, task.captions)) == [5, 5, 5]
    assert task.name == "retrieval scenes:test"


def test_what_cannot_be_searched() -> None:
    with pytest.raises(InvalidInput, match="image b has no caption; caption it"):
        opened(Said(a=["x"], b=[]))
    with pytest.raises(InvalidInput, match="caption 1 of image a has no word"):
        opened(Said(a=["x", " "], b=["y"]))
    with pytest.raises(InvalidInput, match="caption 0 of image a has no word"):
        opened(Said(a=["..."], b=["y"]), form="sga")
    with pytest.raises(InvalidInput, match=r"gives 1 image\(s\); a search needs two"):
        opened(Said(a=["x"]))
    twice = Said(a=["x"], b=["y"])
    twice.ids = ("a", "a")
    with pytest.raises(InvalidInput, match="two images are called a"):
        opened(twice)


@pytest.mark.parametrize("field", ["samples", "captions", "rerank"])
def test_negative_numbers(field: str) -> None:
    with pytest.raises(InvalidInput, match=f"{field}=-1; write 0 or more"):
        RetrievalTask(**{field: -1})  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match="attacks nothing"):
        RetrievalTask(attacked=())


def test_data_without_captions(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tiny.write_folder(tmp_path_factory.mktemp("plain"), 6)
    with pytest.raises(InvalidInput, match="have no captions; name a set with captions"):
        data.load(f"folder:{folder}").captioned()


def test_real_captions_that_many_images_bear(shared: Path) -> None:
    """RSICD's test set: 1,093 images, and captions that up to 17 of them share."""
    (path,) = (shared / "data" / "rsicd-captions").glob("*test*.jsonl")
    task = RetrievalTask(data=f"rsicd:{path}", samples=0).open()
    assert len(task.rows) == 1093
    bearers = [len(images) for images in task.alike.images]
    assert max(bearers) == 17
    assert sum(len(rows) for rows in task.own.texts) == len(task.texts) == len(bearers)
    assert len(task.rights) == 2


def test_real_photographs_are_found_as_a_plain_sort_finds_them(shared: Path) -> None:
    """Fifty photographs and 250 captions through an exported model, against numpy."""
    name = f"flickr8k:{shared}/data/flickr8k#test"
    task = RetrievalTask(data=name, samples=0, form="sga").open()
    assert (len(task.rows), len(task.texts)) == (50, 250)
    model = load(f"file:{shared}/data/models/photos-lit?trust=true")
    with torch.no_grad():
        images = model.embed(task.read(range(50), model.size).pairs.images)
    texts = model.embed_text(task.texts)
    found = ranks(images, texts, task.own.texts)
    cosines = images.numpy() @ texts.numpy().T
    for row, rank in enumerate(found.tolist()):
        owners = [task.owner[at] for at in np.argsort(-cosines[row], kind="stable")]
        assert rank == owners.index(row) + 1
    # Chance is one in fifty.
    assert recall([[rank] for rank in found.tolist()], 1).interval.low > 0.1
