"""The goal of an illusion, against cosines that can be worked out by hand."""

import pytest
import torch

from secondlook.decision import Glimpse
from secondlook.goals.illusion import AlignTo

GOAL = AlignTo(
    vectors=torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), classes=torch.tensor([0, 1, 1])
)


def seen(features: list[list[list[float]]]) -> Glimpse:
    """Features ``[B, N, 2]`` that are their own scores."""
    return Glimpse(features=torch.tensor(features), scores=torch.tensor(features))


def test_the_loss_is_the_mean_cosine_of_the_draws() -> None:
    glimpse = seen([[[3.0, 4.0], [1.0, 0.0]], [[0.0, 2.0], [0.0, -1.0]], [[6.0, 8.0], [0.8, 0.6]]])
    assert GOAL.loss(glimpse).tolist() == pytest.approx([(0.6 + 1) / 2, 0, (1 + 0.96) / 2])


def test_the_goal_is_reached_where_every_draw_answers_the_target() -> None:
    glimpse = seen([[[2.0, 1.0], [0.6, 0.5]], [[0.0, 1.0], [1.0, 0.0]], [[1.0, 1.5], [0.0, 1.0]]])
    assert GOAL.reached(glimpse).tolist() == [True, False, True]


def test_rows_keep_their_own_target() -> None:
    taken = GOAL.take(torch.tensor([2, 0]))
    assert torch.equal(taken.vectors, torch.tensor([[0.6, 0.8], [1.0, 0.0]]))
    assert taken.classes.tolist() == [1, 0]


def test_a_rejected_look_is_not_reached_and_costs_what_acceptance_lacks() -> None:
    free = seen([[[2.0, 1.0], [0.6, 0.5]]])
    guarded = Glimpse(
        features=free.features, scores=free.scores, acceptance=torch.tensor([[0.3, -0.4]])
    )
    goal = GOAL.take(torch.tensor([0]))
    assert goal.reached(free).tolist() == [True]
    assert goal.reached(guarded).tolist() == [False]
    assert float(goal.loss(free) - goal.loss(guarded)) == pytest.approx(0.2)
