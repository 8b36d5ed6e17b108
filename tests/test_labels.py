"""Labels mean the same wherever they are taken, or are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from secondlook.decision import Decision, Surrogate
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.labels import labels
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.targeted import AlignEmbedding, Targeted
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from tests.analytic import ColorEmbedder, LinearClassifier, directions

Y = torch.tensor([2, 0, 1, 2, 1])
FORMS: dict[str, Any] = {
    "[B, 1]": Y[:, None],
    "one-hot": torch.eye(3)[Y],
    "uint8": Y.byte(),
    "floats": Y.double(),
    "list": Y.tolist(),
    "NumPy": Y.numpy(),
}
WRONG: dict[str, tuple[Any, str]] = {
    "negative": (torch.tensor([0, 1, -1, 0, 2]), "holds -1"),
    "too large": (Y + 9, "holds 11 and the model has 3 classes; labels count from 0 to 2"),
    "broken": (Y + 0.5, r"holds 2\.5, no class"),
    "a mask": (Y > 0, "is bool, no classes"),
}


def decision() -> Decision:
    """Answers 2, 0, 1, 2, 1."""
    scores, n = torch.eye(3)[Y], len(Y)
    return Decision(
        outputs=scores,
        features=scores,
        accepted=torch.ones(n).bool(),
        suspicion=torch.zeros(n),
        votes=scores.long(),
        draws=torch.ones(n).long(),
    )


@pytest.mark.parametrize("form", FORMS)
def test_outcomes_and_ranks_are_those_of_int64(form: str) -> None:
    wrong = (Y + 1) % 3
    assert [str(each) for each in decision().outcomes(FORMS[form])] == ["correct"] * 5
    assert [str(each) for each in decision().outcomes(wrong[:, None])] == ["wrong"] * 5
    assert [str(each) for each in decision().outcomes(torch.eye(3)[wrong])] == ["wrong"] * 5
    assert bool(decision().in_top(1, FORMS[form]).all())


@pytest.mark.parametrize("form", FORMS)
def test_a_class_stands_for_its_own_vector(form: str) -> None:
    model = ZeroShot(ColorEmbedder(), ("red", "green", "blue"))
    assert torch.equal(model.class_features(FORMS[form]), model.texts[Y])


@pytest.mark.parametrize("form", FORMS)
def test_goals_want_the_same(form: str) -> None:
    scores = torch.rand(5, 2, 3)
    seen = Surrogate(features=scores, scores=scores)
    for goal in (lambda y: Untargeted(truth=y), lambda y: Targeted(classes=y)):
        assert torch.equal(goal(FORMS[form]).loss(seen), goal(Y).loss(seen))


@pytest.mark.parametrize("form", WRONG)
def test_what_is_no_class_is_refused(form: str) -> None:
    given, says = WRONG[form]
    model = LinearClassifier(directions(3))
    uses = (
        lambda: decision().outcomes(given),
        lambda: decision().in_top(1, given),
        lambda: ZeroShot(ColorEmbedder(), ("red", "green", "blue")).class_features(given),
        lambda: UntargetedObjective(goal=Untargeted(truth=given), victim=Guarded(model)),
    )
    for use in uses:
        with pytest.raises(InvalidInput, match=says):
            use()


def test_not_one_for_each_is_refused() -> None:
    with pytest.raises(InvalidInput, match="truth has 4 labels for 5 images; give one for each"):
        decision().outcomes(Y[:4])


@pytest.mark.parametrize("scores", [torch.zeros(5, 2, 3), torch.full((5, 2, 3), float("nan"))])
def test_a_tie_and_a_nan_reach_no_target_and_mislead_nobody(scores: Tensor) -> None:
    seen = Surrogate(features=scores, scores=scores)
    for goal in (Targeted(classes=Y * 0), AlignEmbedding(vectors=scores[:, 0], classes=Y * 0), Untargeted(truth=Y)):
        assert not goal.success(seen).any()


def test_a_lead_in_every_draw_reaches_the_target() -> None:
    scores = torch.tensor([[[2.0, 1.0], [1.5, 1.0]], [[2.0, 1.0], [0.5, 1.0]]])
    seen = Surrogate(features=scores, scores=scores)
    assert Targeted(classes=torch.tensor([0, 0])).success(seen).tolist() == [True, False]


def test_int64_labels_are_taken_as_they_are() -> None:
    assert labels(Y, 5, 3).data_ptr() == Y.data_ptr()
