"""Soft votes, margins and cosines to a target, against values that can be worked out by hand."""

from math import log

import pytest
import torch

from secondlook.decision import Surrogate
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.models.logits import LogitClassifier
from secondlook.objectives.base import Goal, GuardedObjective
from secondlook.objectives.targeted import AlignEmbedding, Targeted, TargetedMargin

ODDS = torch.tensor([[[1.0, 3.0], [4.0, 1.0]], [[1.0, 1.0], [1.0, 9.0]]])
"""Odds ``[B=2, N=2, K=2]`` whose logarithms are the scores."""


def seen(scores: torch.Tensor) -> Surrogate:
    return Surrogate(features=scores, scores=scores)


def test_the_loss_is_the_mean_log_probability_of_the_target() -> None:
    goal = Targeted(classes=torch.tensor([0, 1]))
    expected = [(log(1 / 4) + log(4 / 5)) / 2, (log(1 / 2) + log(9 / 10)) / 2]
    assert goal.loss(seen(ODDS.log())).tolist() == pytest.approx(expected)


def test_temperature_divides_the_scores() -> None:
    goal = Targeted(classes=torch.tensor([0, 1]), temperature=0.5)
    expected = [(log(1 / 10) + log(16 / 17)) / 2, (log(1 / 2) + log(81 / 82)) / 2]
    assert goal.loss(seen(ODDS.log())).tolist() == pytest.approx(expected)
    assert goal.take(torch.tensor([1])).temperature == 0.5


def test_the_goal_is_reached_where_every_draw_votes_for_the_target() -> None:
    scores = torch.tensor([[[0.0, 1], [0, 2]], [[0, 1], [1, 0]], [[1, 0], [2, 0]]])
    goal = Targeted(classes=torch.ones(3, dtype=torch.long))
    assert goal.success(seen(scores)).tolist() == [True, False, False]
    taken = goal.take(torch.tensor([2, 0]))
    assert taken.success(seen(scores[[2, 0]])).tolist() == [False, True]


def test_gradients_survive_half_precision() -> None:
    """Cosines times a hundred, in fp16: the target is far behind, or far ahead."""
    scores = torch.tensor([[[30.0, 5.0]], [[5.0, 18.0]]], dtype=torch.float16, requires_grad=True)
    loss = Targeted(classes=torch.tensor([1, 1])).loss(seen(scores))
    assert loss.dtype == torch.float32
    (gradient,) = torch.autograd.grad(loss.sum(), scores)
    assert gradient[0].flatten().tolist() == pytest.approx([-1, 1])
    assert bool((gradient[1] != 0).all())


def test_a_target_that_is_rejected_is_not_reached_and_costs_what_acceptance_lacks() -> None:
    scores = torch.tensor([[[0.0, 1], [0, 2]], [[0, 1], [0, 2]]])
    acceptance = torch.tensor([[0.5, 0.0], [0.5, -0.2]])
    goal = Targeted(classes=torch.ones(2, dtype=torch.long), temperature=0.5)
    guarded = Surrogate(features=scores, scores=scores, acceptance=acceptance)
    assert goal.success(guarded).tolist() == [True, False]
    lost = goal.loss(seen(scores)) - goal.loss(guarded)
    assert lost.tolist() == pytest.approx([0.0, 0.1 / 0.5])


LEADS = torch.tensor([[[0.0, 1, 3], [2, 0, 1]], [[1, 5, 1], [0, 2, 1]]])
"""Scores ``[B=2, N=2, K=3]``."""


def test_the_margin_is_the_mean_lead_over_the_best_other_class() -> None:
    goal = TargetedMargin(classes=torch.tensor([2, 1]))
    assert goal.loss(seen(LEADS)).tolist() == [(2 - 1) / 2, (4 + 1) / 2]
    assert goal.success(seen(LEADS)).tolist() == [False, True]
    taken = goal.take(torch.tensor([1, 0]))
    assert taken.loss(seen(LEADS[[1, 0]])).tolist() == [2.5, 0.5]


def test_the_margin_presses_only_the_best_other_class() -> None:
    scores = LEADS.clone().half().requires_grad_()
    loss = TargetedMargin(classes=torch.tensor([2, 1])).loss(seen(scores))
    assert loss.dtype == torch.float32
    (gradient,) = torch.autograd.grad(loss.sum(), scores)
    assert gradient.tolist() == [[[0, -0.5, 0.5], [-0.5, 0, 0.5]], [[-0.25, 0.5, -0.25], [0, 0.5, -0.5]]]


def test_a_lead_that_is_rejected_is_no_success_and_costs_what_acceptance_lacks() -> None:
    acceptance = torch.tensor([[0.5, 0.0], [0.5, -0.4]])
    guarded = Surrogate(features=LEADS, scores=LEADS, acceptance=acceptance)
    goal = TargetedMargin(classes=torch.ones(2, dtype=torch.long))
    assert goal.success(guarded).tolist() == [False, False]
    lost = goal.loss(seen(LEADS)) - goal.loss(guarded)
    assert lost.tolist() == pytest.approx([0.0, 0.2])


GOAL = AlignEmbedding(vectors=torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]), classes=torch.tensor([0, 1, 1]))


def own(features: list[list[list[float]]]) -> Surrogate:
    """Features ``[B, N, 2]`` that are their own scores."""
    return Surrogate(features=torch.tensor(features), scores=torch.tensor(features))


def test_the_loss_is_the_mean_cosine_of_the_draws() -> None:
    surrogate = own([[[3.0, 4.0], [1.0, 0.0]], [[0.0, 2.0], [0.0, -1.0]], [[6.0, 8.0], [0.8, 0.6]]])
    assert GOAL.loss(surrogate).tolist() == pytest.approx([(0.6 + 1) / 2, 0, (1 + 0.96) / 2])


def test_an_embedding_is_reached_where_every_draw_answers_the_target() -> None:
    surrogate = own([[[2.0, 1.0], [0.6, 0.5]], [[0.0, 1.0], [1.0, 0.0]], [[1.0, 1.5], [0.0, 1.0]]])
    assert GOAL.success(surrogate).tolist() == [True, False, True]


def test_rows_keep_their_own_target() -> None:
    taken = GOAL.take(torch.tensor([2, 0]))
    assert torch.equal(taken.vectors, torch.tensor([[0.6, 0.8], [1.0, 0.0]]))
    assert taken.classes.tolist() == [1, 0]


def test_a_rejected_draw_is_not_reached_and_costs_what_acceptance_lacks() -> None:
    free = own([[[2.0, 1.0], [0.6, 0.5]]])
    guarded = Surrogate(features=free.features, scores=free.scores, acceptance=torch.tensor([[0.3, -0.4]]))
    goal = GOAL.take(torch.tensor([0]))
    assert goal.success(free).tolist() == [True]
    assert goal.success(guarded).tolist() == [False]
    assert float(goal.loss(free) - goal.loss(guarded)) == pytest.approx(0.2)


FIRST = torch.zeros(6, dtype=torch.long)


@pytest.mark.parametrize(
    "goal",
    [
        Targeted(classes=FIRST),
        TargetedMargin(classes=FIRST),
        AlignEmbedding(vectors=torch.tensor([[1.0, 0.0]]).expand(6, -1), classes=FIRST),
    ],
    ids=["votes", "margin", "embedding"],
)
def test_a_tie_is_no_success_and_nor_is_nan(goal: Goal) -> None:
    nan = float("nan")
    seen = own([[[1.0, 1.0]], [[0.0, 0.0]], [[nan, nan]], [[nan, 0.0]], [[1.0, nan]], [[2.0, 1]]])
    assert goal.success(seen).tolist() == [False] * 5 + [True]


@pytest.mark.parametrize("classes", [[-1, 0], [0, 2]])
def test_a_target_that_is_no_class_is_refused(classes: list[int]) -> None:
    victim = Guarded(LogitClassifier("two", lambda x: x.flatten(1)[:, :2], ["a", "b"]))
    with pytest.raises(InvalidInput, match="classes holds .* has 2 classes"):
        GuardedObjective(goal=Targeted(classes=torch.tensor(classes)), victim=victim)
