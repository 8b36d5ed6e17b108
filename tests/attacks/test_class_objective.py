"""Objectives over classes: margins, ties and losses by hand, and definitions written again."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from secondlook.attacks.class_objective import (
    ClassLoss,
    Logits,
    ce,
    cw,
    dlr,
    dlr_targeted,
    evaluation,
    fooled,
    joint,
    loss_notices,
    margin,
    over_classes,
)
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, Slope, directions, images

Z = torch.tensor([[[4.0, 1.0, 3.0, 0.0]]])
"""Scores ``[1, 1, 4]``."""


def column(*classes: int) -> Tensor:
    return torch.tensor([classes])


def view(scores: Tensor, auxiliary: Tensor | None = None) -> Logits:
    if auxiliary is None:
        auxiliary = scores.new_zeros(*scores.shape[:2], 0, scores.shape[2])
    return Logits(scores, auxiliary)


# --- by hand -----------------------------------------------------------------------------------


def test_cross_entropy_is_the_negative_log_share() -> None:
    total = sum(math.exp(z) for z in (4, 1, 3, 0))
    assert float(ce(Z, column(2))) == pytest.approx(math.log(total / math.exp(3)))


def test_dlr_divides_by_the_first_less_the_third() -> None:
    assert float(dlr(Z, column(0))) == pytest.approx(-(4 - 3) / (4 - 1))
    assert float(dlr(Z, column(3))) == pytest.approx(-(0 - 4) / (4 - 1))


def test_targeted_dlr_divides_by_the_first_less_the_mean_of_third_and_fourth() -> None:
    assert float(dlr_targeted(Z, column(0), torch.tensor([1]))) == pytest.approx(-(4 - 1) / (4 - (1 + 0) / 2))


def test_several_losing_columns_are_summed_or_all_left_behind() -> None:
    both = column(0, 2)
    assert float(ce(Z, both)) == pytest.approx(float(ce(Z, column(0)) + ce(Z, column(2))))
    assert float(dlr(Z, both)) == pytest.approx((1 - 4) / (4 - 0))
    assert float(cw(Z, both)) == 1 - 4
    lead = dlr_targeted(Z, column(1, 2), torch.tensor([0]))
    assert float(lead) == pytest.approx((4 - 3) / (4 - 1 / 2))


def test_where_truth_and_rejection_lead_the_published_sum_cancels_and_this_one_has_a_slope() -> None:
    scores = torch.tensor([[[4.0, 1.0, 3.0, 0.0, 3.999]]], requires_grad=True)
    published = dlr(scores, column(0)) + dlr(scores, column(4))
    assert float(published.detach()) == pytest.approx(0, abs=1e-6)
    (flat,) = torch.autograd.grad(published.sum(), scores)
    (slope,) = torch.autograd.grad(dlr(scores, column(0, 4)).sum(), scores)
    assert flat.abs().max() < 1e-6 < slope.abs().max()
    assert float(slope[0, 0, 0]) < 0 < float(slope[0, 0, 2])


# --- against the definitions -------------------------------------------------------------------

SCORES = st.lists(st.floats(-50, 50, width=32), min_size=4, max_size=8, unique=True)


@given(SCORES, st.data())
def test_the_published_formulas(scores: list[float], data: st.DataObject) -> None:
    truth = data.draw(st.integers(0, len(scores) - 1))
    target = data.draw(st.integers(0, len(scores) - 1))
    z, best = torch.tensor([[scores]]), sorted(scores, reverse=True)
    other = max(score for k, score in enumerate(scores) if k != truth)
    plain = -(scores[truth] - other) / (best[0] - best[2] + 1e-12)
    aimed = -(scores[truth] - scores[target]) / (best[0] - (best[2] + best[3]) / 2 + 1e-12)
    assert float(dlr(z, column(truth))) == pytest.approx(plain, rel=1e-4, abs=1e-5)
    found = dlr_targeted(z, column(truth), torch.tensor([target]))
    assert float(found) == pytest.approx(aimed, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("loss", [dlr, lambda z, y: dlr_targeted(z, y, torch.tensor([1]))])
def test_dlr_knows_neither_shift_nor_scale(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    assert torch.allclose(loss(Z * 100 + 7, column(0)), loss(Z, column(0)))


@pytest.mark.parametrize("loss", [ce, dlr, cw])
def test_losses_are_in_fp32_and_alike_for_each_draw(loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    found = loss(torch.cat([Z, Z.flip(2)], 1).half(), column(0))
    assert found.dtype == torch.float32
    assert found.shape == (1, 2)
    assert torch.allclose(found[:, :1], loss(Z, column(0)))
    assert torch.allclose(found[:, 1:], loss(Z.flip(2), column(0)))


# --- too few classes ---------------------------------------------------------------------------


def test_where_dlr_is_not_defined_the_margin_stands_for_it() -> None:
    assert float(dlr(Z[..., :2], column(0))) == 1 - 4
    assert float(dlr_targeted(Z[..., :3], column(0), torch.tensor([2]))) == 3 - 4


@pytest.mark.parametrize(
    ("classes", "loss", "targeted", "says"),
    [
        (2, "dlr", False, ("DLR needs 3 scores and there are 2; the margin stood for it",)),
        (3, "ce", True, ("targeted DLR needs 4 scores and there are 3; the margin stood for it",)),
        (2, "ce", False, ()),
        (3, "dlr", False, ()),
        (4, "ce", True, ()),
    ],
)
def test_and_says_so(classes: int, loss: str, targeted: bool, says: tuple[str, ...]) -> None:
    assert loss_notices(objective(classes), loss, targeted) == says


# --- auxiliary ----------------------------------------------------------------------------------


def test_without_opinions_a_joint_loss_is_the_targeted_dlr() -> None:
    target = torch.tensor([3])
    found = joint(view(Z), column(0, 2), target)
    assert torch.equal(found, dlr_targeted(Z, column(0, 2), target))


def test_a_joint_loss_is_that_of_the_most_reluctant_model() -> None:
    """Of an opinion the target has to lead all the others, truth or not."""
    target, willing = torch.tensor([2]), torch.tensor([0.1, 0.0, 0.3, 0.05])
    reluctant = torch.tensor([0.1, 0.4, 0.3, 0.05])
    theirs = (0.3 - 0.4) / (0.4 - (0.1 + 0.05) / 2)
    own = (3 - 4) / (4 - (1 + 0) / 2)
    found = joint(view(Z, torch.stack([willing, reluctant]).view(1, 1, 2, 4)), column(0), target)
    assert float(found) == pytest.approx(min(own, theirs))
    for kappa, expected in {1.0: min(own, theirs), 2.0: min(own, 2 * theirs)}.items():
        found = joint(view(Z, reluctant.view(1, 1, 1, 4)), column(0), target, kappa)
        assert float(found) == pytest.approx(expected)


def test_an_opinion_weighs_the_same_on_any_scale() -> None:
    opinion = torch.tensor([0.1, 0.4, 0.3, 0.05]).view(1, 1, 1, 4)
    losses = [joint(view(Z, opinion * k), column(0), torch.tensor([2])) for k in (1, 1000)]
    assert torch.allclose(*losses)


def test_beside_opinions_the_rejection_itself_is_not_climbed() -> None:
    """It is their disagreement, and its column would weigh in a second time."""
    opinion = torch.tensor([0.1, 0.2, 0.9, 0.05]).view(1, 1, 1, 4)
    rejecting = torch.cat([Z, torch.full((1, 1, 1), 9.0)], 2)
    found = joint(view(rejecting, opinion), column(0, 4), torch.tensor([2]))
    assert torch.equal(found, dlr_targeted(Z, column(0), torch.tensor([2])))


# --- the objective -----------------------------------------------------------------------------


def objective(classes: int) -> UntargetedObjective:
    victim = Guarded(LinearClassifier(directions(classes)))
    return UntargetedObjective(goal=Untargeted(truth=torch.tensor([0, 1, 1, 0])), victim=victim)


def test_an_objective_under_a_loss_is_an_objective() -> None:
    over, x, keys = objective(4), images(4), Keys.of(0, range(4))
    measured = ClassLoss(objective=over, loss="dlr")
    scores = over.logits(x, keys).scores
    evaluation = measured(x, keys)
    assert torch.equal(evaluation.loss, dlr(scores, over.losing)[:, 0])
    assert torch.equal(evaluation.success, over(x, keys).success)
    aimed = ClassLoss(objective=over, target=torch.tensor([3, 2, 3, 2]))
    rows = torch.tensor([2, 0])
    expected = dlr_targeted(scores, over.losing, torch.tensor([3, 2, 3, 2]))[:, 0]
    assert torch.equal(aimed.take(rows)(x[rows], keys[rows]).loss, expected[rows])
    assert measured.parts == (measured,)
    assert measured.modules == over.modules


# --- margins and ties --------------------------------------------------------------------------

SCORES = torch.tensor([[[3.0, 1.0, 2.0, 0.0], [0.0, 2.0, 1.0, -1.0]], [[1.0, 4.0, 2.0, 3.0], [0.0, 3.0, 1.0, 2.0]]])
"""Scores ``[B=2, N=2, K + 1=4]``, a rejection in the last column."""


def test_a_margin_is_the_lead_of_the_best_other_class() -> None:
    assert margin(SCORES, torch.tensor([[0], [2]])).tolist() == [[-1, 2], [2, 2]]


def test_with_two_losing_classes_the_better_one_is_to_be_left_behind() -> None:
    assert margin(SCORES, torch.tensor([[0, 3], [2, 3]])).tolist() == [[-1, 2], [1, 1]]
    assert margin(SCORES, torch.tensor([[1, 0], [3, 1]])).tolist() == [[-1, -1], [-2, -2]]


def test_fooled_is_every_draw() -> None:
    assert fooled(SCORES, torch.tensor([[0], [2]])).tolist() == [False, True]
    assert fooled(SCORES, torch.tensor([[3], [1]])).tolist() == [True, False]


def test_a_tie_counts_for_the_defender() -> None:
    tied = torch.tensor([[[1.0, 1.0, 0.0]], [[1.0, 0.0, 1.0]], [[1.0, 0.0, 0.5]]])
    assert fooled(tied, torch.tensor([[1], [2], [2]])).tolist() == [False, False, True]
    assert fooled(tied, torch.tensor([[1, 2], [1, 2], [1, 2]])).tolist() == [False, False, True]


def test_an_evaluation_is_the_mean_loss_and_carries_no_gradient_of_success() -> None:
    scores = SCORES.clone().requires_grad_()
    losing = torch.tensor([[0], [2]])
    view = Logits(scores, scores.new_zeros(2, 2, 0, 3))
    found = evaluation(margin(scores, losing), view, losing)
    assert found.loss.tolist() == [0.5, 2]
    assert found.success.tolist() == [False, True]
    (gradient,) = torch.autograd.grad(found.loss.sum(), scores)
    # Of each draw half goes to the best other class and half is taken from the truth.
    assert gradient[0].tolist() == [[-0.5, 0, 0.5, 0], [-0.5, 0.5, 0, 0]]


@given(st.lists(st.floats(-9, 9, width=32), min_size=5, max_size=5), st.integers(0, 4))
def test_above_zero_is_another_answer_and_below_is_the_truth(scores: list[float], truth: int) -> None:
    row = torch.tensor([[scores]])
    lead = float(margin(row, torch.tensor([[truth]])))
    others = [score for index, score in enumerate(scores) if index != truth]
    assert lead == pytest.approx(max(others) - scores[truth])
    assert (lead > 0) == (max(others) > scores[truth])


def test_an_objective_without_classes_is_no_over_classes() -> None:
    with pytest.raises(InvalidInput, match="apgd needs the scores of classes, and Slope has none"):
        over_classes(Slope(weights=directions(1)), "apgd")
    victim = Guarded(LinearClassifier(directions(2)))
    objective = UntargetedObjective(goal=Untargeted(truth=torch.tensor([0])), victim=victim)
    assert over_classes(objective, "apgd") is objective
