"""Naming what is on an image: samples, truths and targets, and what an attacker wants."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from secondlook import registry
from secondlook.data import images
from secondlook.data.base import Samples, Source
from secondlook.defenses.guarded import Guarded, single
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier
from secondlook.models.labels import plain
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.base import Goal, GuardedObjective
from secondlook.objectives.targeted import AlignEmbedding, Targeted, TargetedMargin
from secondlook.objectives.untargeted import Untargeted
from secondlook.randomness import Keys
from secondlook.tasks.base import AttackOptions
from secondlook.tasks.classification import (
    ClassificationBatch,
    ClassificationTask,
    OpenClassification,
    ZeroShotTask,
    counted,
    other_than,
)
from tests import tiny


class Listed(Source):
    """A source in memory: names, classes, truths; an image is its row's level of grey."""

    def __init__(
        self,
        classes: Sequence[str],
        truth: Sequence[int],
        ids: Sequence[str] | None = None,
        indices: tuple[int, ...] | None = None,
    ) -> None:
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


def opened(source: Source, **settings: object) -> OpenClassification:
    return OpenClassification(ZeroShotTask(**settings), source)  # type: ignore[arg-type]


def wanted(task: OpenClassification, batch: ClassificationBatch, model: Classifier, objective: str) -> Goal:
    """What an attacker wants of the bare model."""
    options = AttackOptions(objective=objective, draws=3, gradient="bpda")
    made = task.objective(batch, Guarded(model), options)
    assert isinstance(made, GuardedObjective)
    assert (made.draws, made.gradient) == (3, "bpda")
    return made.goal


def in_order(task: OpenClassification, model: Classifier) -> ClassificationBatch:
    """All samples, in the order of their source."""
    return task.batch([task.rows.index(row) for row in range(len(task.rows))], Guarded(model))


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
    with pytest.raises(InvalidInput, match="samples=1000 asks for more than the 100 of "):
        opened(first.source, samples=1000)
    with pytest.raises(InvalidInput, match="samples=-1; write 0 or more"):
        ZeroShotTask(samples=-1)


def test_a_batch_does_not_feel_its_neighbors(folder: Path) -> None:
    task = ZeroShotTask(data=f"folder:{folder}", samples=0).open()
    model = task.classifier(tiny.eye())
    whole = task.batch(range(len(task.rows)), Guarded(model))
    one = task.batch([7], Guarded(model))
    assert one.ids == whole.ids[7:8] and torch.equal(one.images, whole.images[7:8])
    assert (one.truth, one.target) == (whole.truth[7], whole.target[7])
    assert one.keys.words.tolist() == whole.keys.words[7:8].tolist()
    assert bool((whole.target != whole.truth).all())
    names = [tiny.COLORS[index] for index in whole.truth]
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
    batch = task.batch(range(len(task.rows)), Guarded(model))
    goal = wanted(task, batch, model, "cosine")
    assert isinstance(goal, AlignEmbedding) and torch.equal(goal.classes, batch.target)
    axes = [tiny.AXES[tiny.COLORS[index]] for index in batch.target]
    assert goal.vectors.tolist() == torch.tensor(axes).tolist()
    votes = wanted(task, batch, model, "votes")
    assert isinstance(votes, Targeted) and votes.temperature == 0.05
    lead = wanted(task, batch, model, "margin")
    assert isinstance(lead, TargetedMargin) and torch.equal(lead.classes, batch.target)


def test_what_is_wanted_may_be_another_image_of_the_target_s_class(folder: Path) -> None:
    task = ZeroShotTask(data=f"folder:{folder}", samples=12, target="image").open()
    model = task.classifier(tiny.eye())
    batch = task.batch(range(len(task.rows)), Guarded(model))
    goal = wanted(task, batch, model, "cosine")
    assert isinstance(goal, AlignEmbedding)
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
    again = wanted(task, task.batch([3, 4], Guarded(model)), model, "cosine")
    assert torch.equal(again.vectors, goal.vectors[3:5])  # type: ignore[attr-defined]


def test_a_class_without_images_cannot_be_aimed_at_as_one() -> None:
    task = opened(Listed(("red", "green"), [0] * 5), target="image")
    model = task.classifier(tiny.eye())
    with pytest.raises(InvalidInput, match="no image of class 'green' to aim at; target='text'"):
        wanted(task, task.batch((0, 1), Guarded(model)), model, "cosine")


def test_a_classifier_s_own_labels_are_found_by_name() -> None:
    source = Listed(("sea_lion", "Owl, bird", "cow"), [0, 1, 2])
    batch = in_order(opened(source), Named("cow", "owl", "walrus", "Sea lion, seal"))
    assert batch.truth.tolist() == [3, 1, 0]
    goal = wanted(opened(source), batch, Named("cow", "owl", "walrus", "sea lion"), "cosine")
    assert isinstance(goal, Targeted) and goal.temperature == 1
    lead = wanted(opened(source), batch, Named("cow", "owl", "walrus", "sea lion"), "margin")
    assert isinstance(lead, TargetedMargin) and torch.equal(lead.classes, goal.classes)
    with pytest.raises(InvalidInput, match=r"named has no class 'sea lion' \(1 of 3 are unknown\)"):
        in_order(opened(source), Named("cow", "owl"))


@pytest.mark.parametrize("background", [0, 1])
def test_published_indices_go_before_names(background: int) -> None:
    source = Listed(("crane", "crane", "owl"), [0, 1, 2], indices=(134, 517, 24))
    known = [f"class {index}" for index in range(1000 + background)]
    batch = in_order(opened(source), Named(*known))
    assert batch.truth.tolist() == [134 + background, 517 + background, 24 + background]


# --- untargeted ----------------------------------------------------------------------------------


def test_it_is_the_zero_shot_task_with_another_goal() -> None:
    short, long = ClassificationTask(), ZeroShotTask(goal="untargeted")
    assert registry.describe(short) == registry.describe(long) | {"name": "classification"}
    assert ZeroShotTask().goal == "targeted"
    assert registry.build("task", "classification", {"goal": "targeted"}).goal == "targeted"
    with pytest.raises(InvalidInput, match="goal='any'"):
        registry.build("task", "classification", {"goal": "any"})


@pytest.mark.parametrize("objective", ["cosine", "votes"])
def test_any_wrong_answer_will_do(tmp_path: Path, objective: str) -> None:
    data = f"folder:{tiny.write_folder(tmp_path / 'x', 12)}"
    task = ClassificationTask(data=data, samples=6).open()
    model = task.classifier(tiny.eye())
    batch = task.batch(range(len(task.rows)), Guarded(model))
    goal = wanted(task, batch, model, objective)
    assert isinstance(goal, Untargeted) and torch.equal(goal.truth, batch.truth)
    assert task.name == f"classification {data}"


def test_a_surrogate_s_own_labels_are_aimed_at() -> None:
    source = Listed(("sea_lion", "Owl, bird", "cow"), [0, 1, 2, 1])
    victim, surrogate = Named("cow", "owl", "sea lion"), Named("walrus", "owl", "sea lion", "cow")
    task = opened(source, goal="untargeted")
    batch = in_order(task, victim)
    assert batch.truth.tolist() == [2, 1, 0, 1] and batch.classes == victim.classes
    goal = wanted(task, batch, surrogate, "cosine")
    assert isinstance(goal, Untargeted) and goal.truth.tolist() == [2, 1, 3, 1]
    with pytest.raises(InvalidInput, match="named has no class 'sea lion'"):
        wanted(task, batch, Named("owl", "cow", "ant"), "cosine")


def test_a_surrogate_s_own_target_is_aimed_at() -> None:
    model = opened(Listed(tiny.COLORS, [0])).classifier(tiny.eye())
    turned = opened(Listed(tiny.COLORS[::-1], [0])).classifier(tiny.eye())
    task = opened(Listed(tiny.COLORS, list(range(6))))
    batch = task.batch(tuple(range(6)), Guarded(model))
    goal = wanted(task, batch, turned, "cosine")
    assert isinstance(goal, AlignEmbedding)
    assert torch.equal(goal.vectors, model.class_features(batch.target))  # type: ignore[arg-type]
    assert goal.classes.tolist() == [5 - index for index in batch.target.tolist()]


def test_classes_that_are_the_same_stay_as_they_are() -> None:
    chosen = torch.tensor([1, 0])
    assert counted(chosen, ("a", "b"), Named("a", "b")) is chosen


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_that_is_no_class_is_told(label: int) -> None:
    task = opened(Listed(("a", "b", "c"), [0, label]))
    with pytest.raises(InvalidInput, match=rf"the data has the label {label} and 3 classes; .*0 to 2"):
        in_order(task, Named("a", "b", "c"))


def test_an_embedder_may_be_asked_under_another_prompt(tmp_path: Path) -> None:
    task = ZeroShotTask(data=f"folder:{tiny.write_folder(tmp_path / 'x', 12)}").open()
    assert task.classifier(tiny.eye(), "some {}").prompt == "some {}"  # type: ignore[attr-defined]


def test_a_tie_and_nan_are_nobodys_success() -> None:
    task = opened(Listed(("a", "b", "c"), [0, 0, 0]), goal="untargeted", samples=0)
    guarded = Guarded(Named("a", "b", "c"))
    batch = task.batch(range(3), guarded)
    scores = torch.tensor([[1.0, 2.0, 0.0], [1.0, 1.0, 0.0], [torch.nan, 1.0, 0.0]])
    answer = single(scores, scores)
    rows = task.records(batch, guarded, [answer], "untargeted")
    assert [row["success"] for row in rows] == [1, 0, 0]
    assert [row["original_top1"] for row in rows] == [0, 0, 0]
