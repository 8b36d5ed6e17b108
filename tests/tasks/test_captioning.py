"""The captioning task: its targets, what an attacker climbs, and how what is said is judged."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from secondlook.data import load
from secondlook.data.base import Captioned, Samples
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.models.captioner import Captioner, Sentence
from secondlook.models.text.decoding import Decoding
from secondlook.objectives.caption import TargetedCaption, UntargetedCaption
from secondlook.randomness import Keys
from secondlook.scenes.captions import captions
from secondlook.scenes.sampling import sample
from secondlook.tasks.caption_truth import ScoredCaption
from secondlook.tasks.captioning import CaptionBatch, CaptioningTask, OpenCaptioning


class Parrot(Captioner):
    """Says what it was told to, image by image in the order of their grey levels."""

    name = "parrot"

    def __init__(self, *texts: str) -> None:
        self.texts = texts

    def tokens(self, texts: Sequence[str], prompt: str) -> Sentence:
        raise NotImplementedError

    def detokenize(self, ids: Tensor) -> str:
        raise NotImplementedError

    def logits(self, x: Tensor, ids: Tensor, prompt: str) -> Tensor:
        raise NotImplementedError

    def write(self, x: Tensor, keys: Keys, decoding: Decoding, prompt: str) -> list[str]:
        return [self.texts[int(level)] for level in (x.mean((1, 2, 3)) * 255).round()]


class Album(Captioned):
    """Photographs of one grey level each, about which nothing but captions is known."""

    def __init__(self, *captions: tuple[str, ...]) -> None:
        self.ids = tuple(f"p{row}" for row in range(len(captions)))
        self.texts = tuple(text for texts in captions for text in texts)
        self.owner = tuple(row for row, texts in enumerate(captions) for _ in texts)

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        levels = torch.tensor([row / 255 for row in rows]).view(-1, 1, 1, 1)
        return Samples(levels.expand(-1, 3, 4, 4), torch.tensor(rows))


ALBUM = Album(
    ("a dog on a lawn", "the dog runs"),
    ("a red bus in town", "a bus", "a big red bus"),
    ("two birds on a wire", "birds"),
    ("a man eats soup", "soup for a man"),
)


def opened(source: Captioned = ALBUM, **settings: object) -> OpenCaptioning:
    task = CaptioningTask(data="album", **{"samples": 0, **settings})  # type: ignore[arg-type]
    return OpenCaptioning(task, source)


def guarded(*texts: str) -> Guarded:
    return Guarded(Parrot(*texts))


def judged_by(task: OpenCaptioning, batch: CaptionBatch, x: Tensor, *texts: str) -> list[ScoredCaption]:
    return task.scored(batch, Guarded(Parrot(*texts)).decide(x, batch.keys).texts)


def test_a_target_is_a_caption_of_another_scene_with_another_main_thing() -> None:
    source = load("scenes:test", n=300)
    task = opened(source.captioned(), samples=120)
    for row, (other, text) in zip(task.rows, task.targets, strict=True):
        assert sample(0, "test", row).label != sample(0, "test", other).label
        assert text in captions(sample(0, "test", other))
    wordings = {captions(sample(0, "test", other)).index(text) for other, text in task.targets}
    assert wordings == {0, 1, 2, 3, 4}


def test_samples_and_targets_are_a_sample_s_own() -> None:
    few, all_ = opened(samples=2), opened()
    assert all_.rows[:2] == few.rows and all_.targets[:2] == few.targets
    assert opened(seed=1).targets != opened(seed=2).targets
    for row, (other, text) in zip(all_.rows, all_.targets, strict=True):
        assert other != row and text in ALBUM.captions(other)


def test_a_batch_has_as_many_captions_of_each_image() -> None:
    task = opened()
    batch = task.batch(range(4), guarded())
    assert batch.captions == tuple(ALBUM.captions(row)[:2] for row in task.rows)
    lone = task.batch([task.rows.index(1)], guarded())
    assert lone.captions == (ALBUM.captions(1),)
    assert lone.keys.words.tolist() == Keys.of(0, ["p1"]).words.tolist()


def test_what_an_attacker_climbs() -> None:
    task, teller = opened(prompt="?"), Parrot()
    batch = task.batch(range(4), guarded())
    away, towards = (task.caption_objective(batch, teller, targeted) for targeted in (False, True))
    assert isinstance(away, UntargetedCaption) and away.texts == batch.captions
    assert isinstance(towards, TargetedCaption) and towards.texts == tuple((t,) for t in batch.targets)
    assert away.prompt == towards.prompt == "?" and away.captioner is teller


def test_of_photographs_a_target_is_reached_word_for_word() -> None:
    task = opened()
    batch = task.batch(range(4), guarded())
    wanted = {row: text for row, (_, text) in zip(task.rows, task.targets, strict=True)}
    said = [wanted[0].upper() + "!", ALBUM.captions(1)[0], wanted[2] + " too", ""]
    judged = {each.id: each for each in judged_by(task, batch, batch.images, *said)}
    assert [judged[f"p{row}"].said for row in range(4)] == [True, False, False, False]
    assert [judged[f"p{row}"].right for row in range(4)] == [False, True, False, False]
    assert [judged[f"p{row}"].verbatim for row in range(4)] == [True, False, False, False]
    assert all(each.truth is None for each in judged.values())
    assert judged["p1"].cider == pytest.approx(sum(task.cider.between(said[1], text) for text in ALBUM.captions(1)) / 3)
    assert judged["p2"].target_cider == pytest.approx(task.cider.between(said[2], wanted[2]))
    assert judged["p3"].cider == 0


def test_of_scenes_it_is_reached_where_the_target_s_main_thing_is_named() -> None:
    task = opened(load("scenes:test", n=50).captioned(), samples=3)
    batch = task.batch(range(3), guarded())
    (other, _), row = task.targets[0], task.rows[1]
    main = sample(0, "test", other).main
    said = [f"some {main.color} {main.shape}", captions(sample(0, "test", row))[2], "nothing"]
    levels = torch.arange(3).view(3, 1, 1, 1).expand(3, 3, 4, 4) / 255
    judged = judged_by(task, batch, levels, *said)
    assert [each.said for each in judged] == [True, False, False]
    assert [each.right for each in judged] == [False, True, False]
    truths = [each.truth for each in judged]
    assert [truth.main for truth in truths if truth] == [False, True, False]
    assert truths[1] is not None and truths[1].whole
    assert sum(truth.claims for truth in truths if truth) == 2 + truths[1].claims


def test_what_cannot_be_a_task_is_told() -> None:
    with pytest.raises(InvalidInput, match="samples=-1"):
        CaptioningTask(samples=-1)
    with pytest.raises(InvalidInput, match=r"album gives 1 image\(s\)"):
        opened(Album(("a",)))
    with pytest.raises(InvalidInput, match="looks like all others"):
        opened(Album(("a",), ("a",)))
    with pytest.raises(InvalidInput):
        CaptioningTask(data="folder:/nowhere").open()
