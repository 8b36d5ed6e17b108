"""Soft votes, against log-probabilities that can be worked out by hand."""

from math import log

import pytest
import torch

from secondlook.decision import Glimpse
from secondlook.goals.targeted import WinVotes

ODDS = torch.tensor([[[1.0, 3.0], [4.0, 1.0]], [[1.0, 1.0], [1.0, 9.0]]])
"""Odds ``[B=2, N=2, K=2]`` whose logarithms are the scores."""


def seen(scores: torch.Tensor) -> Glimpse:
    return Glimpse(features=scores, scores=scores)


def test_the_loss_is_the_mean_log_probability_of_the_target() -> None:
    goal = WinVotes(classes=torch.tensor([0, 1]))
    expected = [(log(1 / 4) + log(4 / 5)) / 2, (log(1 / 2) + log(9 / 10)) / 2]
    assert goal.loss(seen(ODDS.log())).tolist() == pytest.approx(expected)


def test_temperature_divides_the_scores() -> None:
    goal = WinVotes(classes=torch.tensor([0, 1]), temperature=0.5)
    expected = [(log(1 / 10) + log(16 / 17)) / 2, (log(1 / 2) + log(81 / 82)) / 2]
    assert goal.loss(seen(ODDS.log())).tolist() == pytest.approx(expected)
    assert goal.take(torch.tensor([1])).temperature == 0.5


def test_the_goal_is_reached_where_every_draw_votes_for_the_target() -> None:
    scores = torch.tensor([[[0.0, 1], [0, 2]], [[0, 1], [1, 0]], [[1, 0], [2, 0]]])
    goal = WinVotes(classes=torch.ones(3, dtype=torch.long))
    assert goal.reached(seen(scores)).tolist() == [True, False, False]
    taken = goal.take(torch.tensor([2, 0]))
    assert taken.reached(seen(scores[[2, 0]])).tolist() == [False, True]


def test_gradients_survive_half_precision() -> None:
    """Cosines times a hundred, in fp16: the target is far behind, or far ahead."""
    scores = torch.tensor([[[30.0, 5.0]], [[5.0, 18.0]]], dtype=torch.float16, requires_grad=True)
    loss = WinVotes(classes=torch.tensor([1, 1])).loss(seen(scores))
    assert loss.dtype == torch.float32
    (gradient,) = torch.autograd.grad(loss.sum(), scores)
    assert gradient[0].flatten().tolist() == pytest.approx([-1, 1])
    assert bool((gradient[1] != 0).all())


def test_a_target_that_is_rejected_is_not_reached_and_costs_what_acceptance_lacks() -> None:
    scores = torch.tensor([[[0.0, 1], [0, 2]], [[0, 1], [0, 2]]])
    acceptance = torch.tensor([[0.5, 0.0], [0.5, -0.2]])
    goal = WinVotes(classes=torch.ones(2, dtype=torch.long), temperature=0.5)
    guarded = Glimpse(features=scores, scores=scores, acceptance=acceptance)
    assert goal.reached(guarded).tolist() == [True, False]
    lost = goal.loss(seen(scores)) - goal.loss(guarded)
    assert lost.tolist() == pytest.approx([0.0, 0.1 / 0.5])
