"""Objectives over classes: margins worked out by hand, ties, and what is no contest."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secondlook.attacks.contest import View, contest, fooled, judged, margin
from secondlook.defenses.undefended import Undefended
from secondlook.errors import InvalidInput
from secondlook.goals.mislead import Bout, Mislead
from tests.analytic import LinearClassifier, Slope, directions

SCORES = torch.tensor(
    [[[3.0, 1.0, 2.0, 0.0], [0.0, 2.0, 1.0, -1.0]], [[1.0, 4.0, 2.0, 3.0], [0.0, 3.0, 1.0, 2.0]]]
)
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


def test_a_judgement_is_the_mean_loss_and_carries_no_gradient_of_success() -> None:
    scores = SCORES.clone().requires_grad_()
    losing = torch.tensor([[0], [2]])
    view = View(scores, scores.new_zeros(2, 2, 0, 3))
    found = judged(margin(scores, losing), view, losing)
    assert found.loss.tolist() == [0.5, 2]
    assert found.reached.tolist() == [False, True]
    (gradient,) = torch.autograd.grad(found.loss.sum(), scores)
    # Of each draw half goes to the best other class and half is taken from the truth.
    assert gradient[0].tolist() == [[-0.5, 0, 0.5, 0], [-0.5, 0.5, 0, 0]]


@given(st.lists(st.floats(-9, 9, width=32), min_size=5, max_size=5), st.integers(0, 4))
def test_above_zero_is_another_answer_and_below_is_the_truth(
    scores: list[float], truth: int
) -> None:
    row = torch.tensor([[scores]])
    lead = float(margin(row, torch.tensor([[truth]])))
    others = [score for index, score in enumerate(scores) if index != truth]
    assert lead == pytest.approx(max(others) - scores[truth])
    assert (lead > 0) == (max(others) > scores[truth])


def test_an_objective_without_classes_is_no_contest() -> None:
    with pytest.raises(InvalidInput, match="apgd needs the scores of classes, and Slope has none"):
        contest(Slope(weights=directions(1)), "apgd")
    victim = Undefended(model=LinearClassifier(directions(2)))
    bout = Bout(goal=Mislead(truth=torch.tensor([0])), victim=victim)
    assert contest(bout, "apgd") is bout
