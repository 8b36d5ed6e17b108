"""Classification: untargeted unless told otherwise, and labels that fit the model that is asked."""

from pathlib import Path

import pytest
import torch

from secondlook import registry
from secondlook.errors import InvalidInput
from secondlook.goals.illusion import AlignTo
from secondlook.goals.mislead import Mislead
from secondlook.tasks.classification import Classification
from secondlook.tasks.labels import theirs
from secondlook.tasks.zeroshot import ZeroShotTask
from tests import tiny
from tests.tasks.test_zeroshot import Listed, Named, opened


def test_it_is_the_zero_shot_task_with_another_goal() -> None:
    short, long = Classification(), ZeroShotTask(goal="untargeted")
    assert registry.describe(short) == registry.describe(long) | {"name": "classification"}
    assert ZeroShotTask().goal == "targeted"
    assert registry.build("task", "classification", {"goal": "targeted"}).goal == "targeted"
    with pytest.raises(InvalidInput, match="goal='any'"):
        registry.build("task", "classification", {"goal": "any"})


@pytest.mark.parametrize("objective", ["cosine", "votes"])
def test_any_wrong_answer_will_do(tmp_path: Path, objective: str) -> None:
    data = f"folder:{tiny.write_folder(tmp_path / 'x', 12)}"
    task = Classification(data=data, samples=6).open()
    model = task.classifier(tiny.eye())
    batch = task.batch(task.rows, model)
    goal = task.aim(batch, model, objective)
    assert isinstance(goal, Mislead) and torch.equal(goal.truth, batch.truth)
    assert task.name == f"classification {data}"


def test_a_surrogate_s_own_labels_are_aimed_at() -> None:
    source = Listed(("sea_lion", "Owl, bird", "cow"), [0, 1, 2, 1])
    victim, surrogate = Named("cow", "owl", "sea lion"), Named("walrus", "owl", "sea lion", "cow")
    task = opened(source, goal="untargeted")
    batch = task.batch((0, 1, 2, 3), victim)
    assert batch.truth.tolist() == [2, 1, 0, 1] and batch.classes == victim.classes
    goal = task.aim(batch, surrogate, "cosine")
    assert isinstance(goal, Mislead) and goal.truth.tolist() == [2, 1, 3, 1]
    with pytest.raises(InvalidInput, match="named has no class 'sea lion'"):
        task.aim(batch, Named("owl", "cow", "ant"), "cosine")


def test_a_surrogate_s_own_target_is_aimed_at() -> None:
    model = opened(Listed(tiny.COLOURS, [0])).classifier(tiny.eye())
    turned = opened(Listed(tiny.COLOURS[::-1], [0])).classifier(tiny.eye())
    task = opened(Listed(tiny.COLOURS, list(range(6))))
    batch = task.batch(tuple(range(6)), model)
    goal = task.aim(batch, turned, "cosine")
    assert isinstance(goal, AlignTo)
    assert torch.equal(goal.vectors, model.aim(batch.target))  # type: ignore[arg-type]
    assert goal.classes.tolist() == [5 - index for index in batch.target.tolist()]


def test_classes_that_are_the_same_stay_as_they_are() -> None:
    chosen = torch.tensor([1, 0])
    assert theirs(chosen, ("a", "b"), Named("a", "b")) is chosen


@pytest.mark.parametrize("label", [3, -1])
def test_a_label_that_is_no_class_is_told(label: int) -> None:
    task = opened(Listed(("a", "b", "c"), [0, label]))
    with pytest.raises(
        InvalidInput, match=rf"the data has the label {label} and 3 classes; .*0 to 2"
    ):
        task.batch((0, 1), Named("a", "b", "c"))


def test_an_embedder_may_be_asked_under_another_prompt(tmp_path: Path) -> None:
    task = ZeroShotTask(data=f"folder:{tiny.write_folder(tmp_path / 'x', 12)}").open()
    assert task.classifier(tiny.eye(), "some {}").prompt == "some {}"  # type: ignore[attr-defined]
