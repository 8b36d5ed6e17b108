"""Classification audits: models looked at first, the outcomes of each row, and controls."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from secondlook.audit.store import Log
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier
from secondlook.schema import Audit, Cell
from secondlook.tasks.base import SAMPLED
from secondlook.tasks.classification import ClassificationTask
from tests import tiny
from tests.audit.conftest import Make, Run
from tests.audit.settings import SHIELD

CLASSES = tiny.COLORS


class Odd(Classifier):
    """Names the colors, badly."""

    name = "odd"
    classes: tuple[str, ...] = CLASSES

    def features(self, x: Tensor) -> Tensor:
        return self.checked_input(x).flatten(2).mean(2)

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
    task = ClassificationTask(data=f"folder:{pictures}").open()
    guarded = Guarded(model)
    return task.inspect(task.batch(range(8), guarded), guarded)


def test_a_sound_model_passes(pictures: Path) -> None:
    assert look(pictures, Odd()) == {"n": 8, "unsteady": False, "softmax": False}


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Merged(), r"odd answers 8 images with scores of shape \(1, 6\); .*one row for each image"),
        (Short(), r"odd gives 5 scores and names 6 classes; its classes must be as many"),
        (Sick(), r"odd answers clean images with NaN or infinite scores; look at its weights"),
    ],
    ids=["merged", "short", "sick"],
)
def test_a_broken_model_is_named_with_its_mend(pictures: Path, model: Classifier, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        look(pictures, model)


def test_a_model_of_one_class_has_nothing_to_choose(pictures: Path) -> None:
    with pytest.raises(InvalidInput, match=r"odd has no class 'cyan'|knows 1 class"):
        look(pictures, OfOne())


def test_probabilities_are_told_from_logits(pictures: Path) -> None:
    assert look(pictures, Certain())["softmax"] is True


def test_an_undeclared_randomness_is_seen(pictures: Path) -> None:
    assert look(pictures, Moody())["unsteady"] is True


@pytest.fixture
def shielded(classification: Make, ran: Run) -> tuple[Audit, Path]:
    folder, audit = ran(
        classification(
            knowledge=["clean", "oblivious", "adaptive"],
            attack={"name": "pgd", "steps": 8},
            adaptive={"steps": 20},
            defenses=[{"name": "undefended"}, SHIELD],
        )
    )
    return audit, folder


def by_row(audit: Audit) -> dict[tuple[str, str], Cell]:
    return {(cell.settings["defense"]["name"], cell.knowledge): cell for cell in audit.cells}


def test_the_outcomes_of_each_row_make_the_whole(shielded: tuple[Audit, Path]) -> None:
    for cell in shielded[0].cells:
        shares = [cell.metrics[name].value for name in ("correct", "wrong", "rejected")]
        assert sum(shares) == pytest.approx(1) and cell.goal == "untargeted"
        assert shares == [count / 36 for count in vars(cell.outcomes).values()]
        assert cell.metrics["success"] == cell.metrics["wrong"]
        assert cell.metrics["accuracy"].value == cell.metrics["original_top1"].value
        assert set(cell.controls) == {"always_accept", "always_reject"} and cell.risk
        assert not [name for name in cell.metrics if "target" in name]
        assert ("asr_conditional" in cell.metrics) == (cell.knowledge != "clean")


def test_records_hold_no_target(shielded: tuple[Audit, Path]) -> None:
    for record in Log(shielded[1] / "records.jsonl"):
        assert not [key for key in record if "target" in key]
        assert record["success"] == (record["outcome"] == "wrong")
        assert record["rejected"] == (record["outcome"] == "rejected")
        assert record["captured"] == record["success"]
        assert record["right"] == (record["answer"] == record["truth"])


def test_whoever_knows_the_shield_gets_more_past_it(shielded: tuple[Audit, Path]) -> None:
    rows = by_row(shielded[0])
    assert rows[("undefended", "adaptive")].metrics["wrong"].value == 1
    blind, knowing = rows[("multishield", "oblivious")], rows[("multishield", "adaptive")]
    assert blind.outcomes.rejected > 0
    assert knowing.metrics["success"].value > blind.metrics["success"].value
    # An oblivious image is right neither accepted nor rejected: the gain is refusal alone.
    assert blind.controls["always_accept"]["accuracy"].value == 0
    assert blind.metrics["correct_or_rejected"].value == blind.metrics["rejected"].value


def test_the_headline_is_the_worst_of_all_sample_by_sample(shielded: tuple[Audit, Path]) -> None:
    found, folder = shielded
    records = list(Log(folder / "records.jsonl"))
    for headline in found.headline:
        fooled = {r["sample"] for r in records if r["cell"] in headline.rows and r["success"]}
        assert headline.success is not None and headline.worst_target_top1 is None
        assert headline.success.value == pytest.approx(len(fooled) / 36)
        assert headline.clean_rejected is not None
    assert "gets a wrong answer accepted on" in (folder / "report.html").read_text("utf-8")


@pytest.mark.parametrize("task", ["classification", "zeroshot"])
def test_apgd_drives_the_margin_of_the_target_through_each_defense(classification: Make, ran: Run, task: str) -> None:
    study = classification(
        task={**classification().task, "name": task, "goal": "targeted", "samples": 12},
        attack={"name": "apgd", "steps": 12, "loss": "", "objective": "margin", "early_exit": False},
        adaptive={"restarts": 2, "draws": 4, "gradient": ["full", "bpda"]},
        defenses=[
            {"name": "undefended"},
            {"name": "jpeg"},
            {"name": "consensus", "purifier": "python:tests.tiny:shift", "samples": 5},
        ],
        threat={"eps": ["32/255"]},
    )
    _, audit = ran(study)
    attacked = [cell for cell in audit.cells if cell.knowledge == "adaptive"]
    # Undefended there is nothing to go past.
    assert len(attacked) == 5 and {cell.goal for cell in attacked} == {"targeted"}
    for cell in attacked:
        assert cell.settings["attack"]["objective"] == "margin"
        assert cell.metrics["target_top1"].value >= 0.8


def test_where_everything_is_wrong_already_there_is_nothing_to_attack(classification: Make, ran: Run) -> None:
    _, audit = ran(
        classification(
            models=["python:tests.tiny:contrary"],
            attack={"name": "pgd", "steps": 8, "random_start": False, "early_exit": True},
            defenses=[{"name": "undefended"}],
            knowledge=["oblivious", "adaptive"],
        )
    )
    clean, *attacked = audit.cells
    assert clean.metrics["accuracy"].value == 0
    for cell in attacked:
        assert cell.metrics["wrong"].value == 1 and cell.metrics["accuracy_drop"].value == 0
        assert "asr_conditional" not in cell.metrics
        told = {check.check: check for check in cell.health}
        assert told["something to attack"].status == "warn"
        assert told["something to attack"].detail.startswith("36 of 36 samples were fooled")
        assert "gradients alive" not in told
    (headline,) = audit.headline
    assert headline.status == "withheld" and "better than chance" in " ".join(headline.reasons)


def test_without_a_bound_any_wrong_answer_is_asked_for(shielded: tuple[Audit, Path]) -> None:
    tried = [line for line in Log(shielded[1] / "ledger.jsonl") if "probe" in line]
    assert len(tried) == 2 and all(p["n"] == SAMPLED and p["success"] == 1 for p in tried)
