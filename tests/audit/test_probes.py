"""A look before the run: broken models are refused with their name, odd ones are told."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from secondlook.audit.matrix import CellPlan
from secondlook.audit.plan import plan
from secondlook.audit.probes import inspect
from secondlook.defenses.undefended import Undefended
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier
from tests import tiny

CLASSES = tiny.COLOURS


class Odd(Classifier):
    """Names the colours, badly."""

    name = "odd"
    classes: tuple[str, ...] = CLASSES

    def features(self, x: Tensor) -> Tensor:
        return self.see(x).flatten(2).mean(2)

    def scores(self, features: Tensor) -> Tensor:
        axes = torch.tensor([tiny.AXES[name] for name in CLASSES], dtype=torch.float32)
        return (features - 0.5) @ axes.T


class OfOne(Odd):
    classes = ("blue",)

    def scores(self, features: Tensor) -> Tensor:
        return super().scores(features)[:, :1]


class Merged(Odd):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x).mean(0, keepdim=True)


class Short(Odd):
    def scores(self, features: Tensor) -> Tensor:
        return super().scores(features)[:, :5]


class Sick(Odd):
    def scores(self, features: Tensor) -> Tensor:
        return super().scores(features) * float("nan")


class Certain(Odd):
    def scores(self, features: Tensor) -> Tensor:
        return super().scores(features).softmax(-1)


class Moody(Odd):
    """Another answer each time, though nothing says so."""

    def __init__(self) -> None:
        self.calls = 0

    def scores(self, features: Tensor) -> Tensor:
        self.calls += 1
        return super().scores(features) * (1 if self.calls % 2 else -1)


def look(pictures: Path, model: Classifier) -> dict[str, object]:
    made = plan(tiny.study(pictures, knowledge=["clean"]))
    defence = Undefended(model=model)
    cell = CellPlan(
        id="c", defence=defence, label="d", knowledge="clean", forge=None, settings={},
    )  # fmt: skip
    return inspect(made, cell)


def test_a_sound_model_passes(pictures: Path) -> None:
    assert look(pictures, Odd()) == {
        "inspected": "c", "n": 8, "unsteady": False, "softmax": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Merged(), r"odd answers 8 images with scores of shape \(1, 6\); .*one row for each image"),
        (Short(), r"odd gives 5 scores and names 6 classes; its classes must be as many"),
        (Sick(), r"odd answers clean images with NaN; look at its weights"),
    ],
    ids=["merged", "short", "sick"],
)
def test_a_broken_model_is_named_with_its_mend(
    pictures: Path, model: Classifier, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message):
        look(pictures, model)


def test_a_model_of_one_class_has_nothing_to_choose(pictures: Path) -> None:
    with pytest.raises(InvalidInput, match=r"odd has no class 'cyan'|knows 1 class"):
        look(pictures, OfOne())


def test_probabilities_are_told_from_logits(pictures: Path) -> None:
    assert look(pictures, Certain())["softmax"] is True


def test_an_undeclared_randomness_is_seen(pictures: Path) -> None:
    assert look(pictures, Moody())["unsteady"] is True
