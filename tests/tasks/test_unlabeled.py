"""Images without labels: the truth is what the bare model says of the clean image."""

from pathlib import Path

import pytest
import torch

from secondlook.attacks.pairs import Pairs
from secondlook.data import images, load
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.noise import NoiseVote
from secondlook.defenses.undefended import Undefended
from secondlook.errors import InvalidInput
from secondlook.models import load as model
from secondlook.tasks.base import AttackOptions
from secondlook.tasks.classification import ZeroShotTask
from secondlook.tasks.unlabeled import OpenUnlabeled, UnlabeledTask


@pytest.fixture(scope="module")
def flat(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Nine scenes, side by side in one folder."""
    folder = tmp_path_factory.mktemp("flat")
    for number, image in enumerate(load("scenes:test").read(range(9), (64, 64)).images):
        images.write_png(folder / f"{number}.png", image)
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def task(flat: str) -> OpenUnlabeled:
    return UnlabeledTask(data=flat, samples=8).open()


@pytest.mark.parametrize("name", ["scenes:clip", "scenes:classifier"])
def test_the_bare_model_agrees_with_itself(task: OpenUnlabeled, name: str) -> None:
    guarded = task.guarded(model(name), Undefended())
    whole = task.batch(range(8), guarded)
    records = task.records(whole, guarded, [task.answer(whole, whole.pairs, guarded, whole.keys)], "untargeted")
    assert [each["outcome"] for each in records] == ["correct"] * 8
    some = task.batch([5, 2], guarded)
    assert some.ids == (whole.ids[5], whole.ids[2])
    assert some.truth.tolist() == [int(whole.truth[5]), int(whole.truth[2])]
    if name == "scenes:clip":
        assert whole.truth.tolist() == list(range(8)) and guarded.classes == whole.ids
        assert all(each["cosine_clean_image"] > 1 - 1e-5 for each in records)


def test_another_picture_in_its_place_is_a_change_and_a_drift(task: OpenUnlabeled) -> None:
    guarded = task.guarded(model("scenes:clip"), Undefended())
    batch = task.batch(range(8), guarded)
    given = Pairs(batch.images.roll(1, 0), batch.pairs.captions)
    answer = task.answer(batch, given, guarded, batch.keys)
    records = task.records(batch, guarded, [answer], "untargeted")
    assert [each["outcome"] for each in records] == ["wrong"] * 8
    assert answer.answer.tolist() == [7, 0, 1, 2, 3, 4, 5, 6]
    with torch.no_grad():
        seen = model("scenes:clip").embed(batch.images)
    drift = (seen * seen.roll(1, 0)).sum(1).tolist()
    assert [each["cosine_clean_image"] for each in records] == pytest.approx(drift, abs=1e-4)


def test_the_truth_is_the_bare_model_s_behind_any_defense(task: OpenUnlabeled) -> None:
    bare, noisy = (
        task.guarded(model("scenes:classifier"), defense) for defense in (Undefended(), NoiseVote(sigma=0.3))
    )
    assert torch.equal(task.batch(range(8), bare).truth, task.batch(range(8), noisy).truth)
    batch = task.batch(range(8), noisy)
    goal = task.objective(batch, noisy, AttackOptions(objective="untargeted"))
    assert goal(batch.images, batch.keys).loss.shape == (8,)
    assert task.chance is None and "no labels" in task.provenance()["caveat"]
    assert isinstance(noisy, Guarded)


def test_classes_are_not_made_of_nothing(flat: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"nobody says what is on them.*name = .unlabeled."):
        ZeroShotTask(data=flat, samples=4).open()
    images.write_png(tmp_path / "one.png", torch.rand(3, 8, 8))
    with pytest.raises(InvalidInput, match="has 1 image"):
        UnlabeledTask(data=f"folder:{tmp_path}", samples=1).open()
