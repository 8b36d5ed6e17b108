"""Untargeted goals: the lead of the best wrong class, and a rejection as one class more."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secondlook.attacks.contest import Contest
from secondlook.attacks.pgd import PGD
from secondlook.decision import Glimpse
from secondlook.defenses.undefended import Undefended
from secondlook.goals.mislead import Bout, Mislead, losing, viewed
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import LinearClassifier, directions, images

SCORES = torch.tensor([[[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]], [[1.0, 4.0, 2.0], [0.0, 3.0, 2.0]]])
"""Scores ``[B=2, N=2, K=3]``."""
TRUTH = torch.tensor([0, 2])


def seen(acceptance: list[list[float]] | None = None) -> Glimpse:
    return Glimpse(
        features=SCORES, scores=SCORES,
        acceptance=None if acceptance is None else torch.tensor(acceptance),
    )  # fmt: skip


def test_without_rejection_the_loss_is_the_mean_lead_over_the_truth() -> None:
    goal = Mislead(truth=TRUTH)
    # Leads of the draws: 2 - 3 and 5 - 0; 4 - 2 and 3 - 2.
    assert goal.loss(seen()).tolist() == [2.0, 1.5]
    assert goal.reached(seen()).tolist() == [False, True]
    assert losing(TRUTH, seen()).tolist() == [[0], [2]]


def test_a_rejected_answer_is_behind_by_its_lack_of_acceptance() -> None:
    # Rejections: 3 - 1 = 2 and 5 + 2 = 7; 4 - 0.5 = 3.5 and 3 + 0.25 = 3.25.
    glimpse = seen([[1.0, -2.0], [0.5, -0.25]])
    # Leads of the best wrong class over truth and rejection: 2 - 3, 5 - 7; 4 - 3.5, 3 - 3.25.
    assert Mislead(truth=TRUTH).loss(glimpse).tolist() == [-1.5, 0.125]
    assert Mislead(truth=TRUTH).reached(glimpse).tolist() == [False, False]
    assert losing(TRUTH, glimpse).tolist() == [[0, 3], [2, 3]]


def test_it_is_reached_where_every_draw_is_accepted_and_wrong() -> None:
    goal = Mislead(truth=TRUTH)
    assert goal.reached(seen([[9.0, 9.0], [0.5, 0.25]])).tolist() == [False, True]
    assert goal.reached(seen([[9.0, 9.0], [0.5, -0.25]])).tolist() == [False, False]


def test_a_tie_counts_for_the_defender() -> None:
    goal = Mislead(truth=torch.tensor([1, 1]))
    scores = torch.tensor([[[2.0, 2.0, 0.0]], [[2.0, 1.0, 0.0]]])
    tied = Glimpse(features=scores, scores=scores, acceptance=torch.tensor([[1.0], [0.0]]))
    assert goal.loss(tied).tolist() == [0, 0]
    assert goal.reached(tied).tolist() == [False, False]


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=4, max_size=4),
    st.floats(-20, 20, width=32).filter(lambda value: abs(value) > 1e-3),
)
def test_the_appended_column_leads_exactly_where_acceptance_is_below_zero(
    scores: list[float], acceptance: float
) -> None:
    row = torch.tensor([[scores]])
    view = viewed(Glimpse(features=row, scores=row, acceptance=torch.tensor([[acceptance]])))
    assert torch.equal(view.scores[..., :4], row)
    assert (int(view.scores.argmax()) == 4) == (acceptance < 0)
    assert view.opinions.shape == (1, 1, 0, 4)


def test_opinions_are_passed_on() -> None:
    opinions = torch.arange(24.0).view(2, 2, 2, 3)
    view = viewed(Glimpse(features=SCORES, scores=SCORES, opinions=opinions))
    assert view.opinions is opinions
    assert view.scores is SCORES


def bout(rejects: bool = False) -> Bout:
    model = LinearClassifier(directions(3))
    return Bout(
        goal=Mislead(truth=model(images(4)).argmax(1)), victim=Undefended(model=model),
        rejects=rejects, classes=3,
    )  # fmt: skip


def test_a_bout_is_a_contest_over_the_victims_scores() -> None:
    one, keys = bout(), Keys.of(0, range(4))
    assert isinstance(one, Contest)
    assert one.classes == 3
    assert torch.equal(one.losing, one.goal.truth[:, None])
    assert torch.equal(one.look(images(4), keys).scores[:, 0], one.victim.model(images(4)))  # type: ignore[attr-defined]
    assert one.drawing(7).draws == 7
    assert bout(rejects=True).losing.tolist() == [[int(t), 3] for t in one.goal.truth]


def test_taking_rows_of_a_bout_is_judging_them_alone() -> None:
    whole, keys, rows = bout(), Keys.of(0, range(4)), torch.tensor([2, 0])
    judged, part = whole(images(4), keys), whole.take(rows)
    assert torch.equal(part(images(4)[rows], keys[rows]).loss, judged.loss[rows])
    assert torch.equal(part.losing, whole.losing[rows])


@pytest.mark.parametrize("eps", [2 / 255, 8 / 255])
def test_two_linear_scores_part_by_what_the_norm_of_their_difference_allows(eps: float) -> None:
    """The lead of the other class is linear: its optimum is clean + eps |w_other - w_truth|_1."""
    model = LinearClassifier(directions(2))
    x, keys = images(6), Keys.of(0, range(6))
    truth = model(x).argmax(1)
    aim = Bout(goal=Mislead(truth=truth), victim=Undefended(model=model))
    found = PGD(steps=10)(aim, x, Threat(eps=eps), keys)
    reach = eps * (model.weights[0] - model.weights[1]).abs().sum()
    best = aim(x, keys).loss + reach
    assert torch.allclose(aim(found.x, keys).loss, best, atol=1e-4)
    assert torch.equal(aim(found.x, keys).reached, best > 0)
    assert bool((best < 0).any()) or eps > 4 / 255
