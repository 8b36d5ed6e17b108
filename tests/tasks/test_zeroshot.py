"""Samples, truths and targets of a task, and what an attacker wants of a model."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from secondlook.data import images
from secondlook.data.base import Samples, Source
from secondlook.errors import InvalidInput
from secondlook.goals.illusion import AlignTo
from secondlook.goals.targeted import WinVotes
from secondlook.models.base import Classifier
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.tasks.zeroshot import OpenTask, ZeroShotTask, other_than, plain
from tests import tiny


class Listed(Source):
    """A source in memory: names, classes, truths; an image is its row's level of grey."""

    def __init__(
        self, classes: Sequence[str], truth: Sequence[int], ids: Sequence[str] | None = None,
        indices: tuple[int, ...] | None = None,
    ) -> None:  # fmt: skip
        self.classes, self.truth, self.indices = tuple(classes), tuple(truth), indices
        self.ids = tuple(ids or (f"i{row}" for row in range(len(truth))))

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        levels = torch.tensor([float(self.ids[row][1:]) / 255 for row in rows])
        x = levels.view(-1, 1, 1, 1).expand(-1, 3, *(size or (2, 2)))
        return Samples(x, torch.tensor([self.truth[row] for row in rows]))


class Named(Classifier):
    """A classifier that knows its classes by name alone."""

    def __init__(self, *classes: str) -> None:
        self.classes, self.name = classes, "named"

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def scores(self, features: Tensor) -> Tensor:
        return features


def opened(source: Source, **settings: object) -> OpenTask:
    return OpenTask(ZeroShotTask(**settings), source)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("zeroshot"), 30)


@pytest.mark.parametrize(
    "classes",
    [
        ("a", "b"),
        ("cat", "dog", "cow", "owl"),
        ("crane, bird", "crane, machine", "owl"),
        ("maillot", "Maillot", "maillot, tank suit", "sock"),
        ("sea_lion", "sea lion", "Sea Lion, seal", "walrus"),
    ],
)
def test_a_target_is_never_the_truth_nor_called_the_same(classes: tuple[str, ...]) -> None:
    truth = torch.arange(400) % len(classes)
    target = other_than(truth, Keys.of(0, range(400)), classes)
    assert target.dtype == torch.long and target.min() >= 0 and target.max() < len(classes)
    for own, aimed in zip(truth.tolist(), target.tolist(), strict=True):
        assert plain(classes[own]) != plain(classes[aimed])


def test_targets_are_spread_over_all_others() -> None:
    target = other_than(torch.zeros(3000).long(), Keys.of(0, range(3000)), tuple("abcdef"))
    counts = torch.bincount(target, minlength=6)
    assert counts[0] == 0 and counts[1:].min() > 500


@pytest.mark.parametrize("classes", [("cat",), ("Cat", "cat", "cat, tabby")])
def test_where_all_are_called_the_same_there_is_no_target(classes: tuple[str, ...]) -> None:
    with pytest.raises(InvalidInput, match=r"all classes are called 'cat'"):
        other_than(torch.tensor([0]), Keys.of(0, ["a"]), classes)


def test_samples_are_chosen_by_name_and_not_by_place() -> None:
    ids = [f"i{row}" for row in range(100)]
    first = opened(Listed("ab", [0] * 100, ids), samples=20)
    second = opened(Listed("ab", [0] * 100, ids[::-1]), samples=20)
    assert [first.source.ids[r] for r in first.rows] == [second.source.ids[r] for r in second.rows]
    assert opened(first.source, samples=30).rows[:20] == first.rows
    assert opened(first.source, samples=20, seed=1).rows != first.rows
    assert sorted(opened(first.source, samples=0).rows) == list(range(100))
    assert len(opened(first.source, samples=1000).rows) == 100
    with pytest.raises(InvalidInput, match="samples=-1; write how many images, or 0 for all"):
        ZeroShotTask(samples=-1)


def test_a_batch_does_not_feel_its_neighbours(folder: Path) -> None:
    task = ZeroShotTask(data=f"folder:{folder}", samples=0).open()
    model = task.classifier(tiny.eye())
    whole = task.batch(task.rows, model)
    one = task.batch(task.rows[7:8], model)
    assert one.ids == whole.ids[7:8] and torch.equal(one.images, whole.images[7:8])
    assert (one.truth, one.target) == (whole.truth[7], whole.target[7])
    assert one.keys.words.tolist() == whole.keys.words[7:8].tolist()
    assert bool((whole.target != whole.truth).all())
    names = [tiny.COLOURS[index] for index in whole.truth]
    assert names == [sample.split("/")[0] for sample in whole.ids]
    assert torch.equal(whole.images[0], images.read(folder / whole.ids[0], None))


def test_the_prompt_is_the_source_s_unless_another_is_given(folder: Path) -> None:
    data = f"folder:{folder}"
    assert ZeroShotTask(data=data).open().classifier(tiny.eye()).prompt == "a photo of a {}"
    made = ZeroShotTask(data=data, prompt="some {}").open().classifier(tiny.eye())
    assert isinstance(made, ZeroShot) and made.prompt == "some {}"
    with pytest.raises(InvalidInput, match="neither embeds nor classifies"):
        ZeroShotTask(data=data).open().classifier(tiny.shift())  # type: ignore[arg-type]


def test_what_is_wanted_is_the_text_of_the_target(folder: Path) -> None:
    task = ZeroShotTask(data=f"folder:{folder}", samples=10).open()
    model = task.classifier(tiny.eye())
    batch = task.batch(task.rows, model)
    goal = task.aim(batch, model, "cosine")
    assert isinstance(goal, AlignTo) and torch.equal(goal.classes, batch.target)
    axes = [tiny.AXES[tiny.COLOURS[index]] for index in batch.target]
    assert goal.vectors.tolist() == torch.tensor(axes).tolist()
    votes = task.aim(batch, model, "votes")
    assert isinstance(votes, WinVotes) and votes.temperature == 0.05


def test_what_is_wanted_may_be_another_image_of_the_target_s_class(folder: Path) -> None:
    task = ZeroShotTask(data=f"folder:{folder}", samples=12, target="image").open()
    model = task.classifier(tiny.eye())
    batch = task.batch(task.rows, model)
    goal = task.aim(batch, model, "cosine")
    assert isinstance(goal, AlignTo)
    everything = task.source.read(range(30), None)
    seen = model.features(everything.images)
    for vector, target, own in zip(goal.vectors, batch.target, batch.images, strict=True):
        nearest = (seen - vector).norm(dim=1)
        row = int(nearest.argmin())
        assert nearest[row] == 0 and everything.truth[row] == target
        assert not torch.equal(everything.images[row], own)
    pairs = {(int(t), str(v.tolist())) for t, v in zip(batch.target, goal.vectors, strict=True)}
    assert len(pairs) > len(set(batch.target.tolist()))
    # Which image it is depends on the sample, and on nothing else.
    again = task.aim(task.batch(task.rows[3:5], model), model, "cosine")
    assert torch.equal(again.vectors, goal.vectors[3:5])  # type: ignore[attr-defined]


def test_a_class_without_images_cannot_be_aimed_at_as_one() -> None:
    task = opened(Listed(("red", "green"), [0] * 5), target="image")
    model = task.classifier(tiny.eye())
    with pytest.raises(InvalidInput, match="no image of class 'green' to aim at; target='text'"):
        task.aim(task.batch((0, 1), model), model, "cosine")


def test_a_classifier_s_own_labels_are_found_by_name() -> None:
    source = Listed(("sea_lion", "Owl, bird", "cow"), [0, 1, 2])
    batch = opened(source).batch((0, 1, 2), Named("cow", "owl", "walrus", "Sea lion, seal"))
    assert batch.truth.tolist() == [3, 1, 0]
    goal = opened(source).aim(batch, Named("cow", "owl", "walrus", "sea lion"), "cosine")
    assert isinstance(goal, WinVotes) and goal.temperature == 1
    with pytest.raises(InvalidInput, match=r"named has no class 'sea lion' \(1 of 3 are unknown\)"):
        opened(source).batch((0,), Named("cow", "owl"))


@pytest.mark.parametrize("background", [0, 1])
def test_published_indices_go_before_names(background: int) -> None:
    source = Listed(("crane", "crane", "owl"), [0, 1, 2], indices=(134, 517, 24))
    known = [f"class {index}" for index in range(1000 + background)]
    batch = opened(source).batch((0, 1, 2), Named(*known))
    assert batch.truth.tolist() == [134 + background, 517 + background, 24 + background]
