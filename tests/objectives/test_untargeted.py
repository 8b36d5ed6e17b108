"""The untargeted goal: the lead of the best wrong class, rejection as a class, and ensembles."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, strategies as st

from secondlook.attacks.class_objective import ClassObjective, fooled
from secondlook.attacks.pgd import PGD
from secondlook.decision import Surrogate
from secondlook.defenses.base import Defense
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.undefended import AlwaysReject
from secondlook.errors import InvalidInput
from secondlook.objectives.base import Ensemble
from secondlook.objectives.untargeted import Untargeted, UntargetedEnsemble, UntargetedObjective, losing, with_rejection
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import LinearClassifier, directions, images

SCORES = torch.tensor([[[3.0, 1.0, 2.0], [0.0, 5.0, 1.0]], [[1.0, 4.0, 2.0], [0.0, 3.0, 2.0]]])
"""Scores ``[B=2, N=2, K=3]``."""
TRUTH = torch.tensor([0, 2])


def seen(acceptance: list[list[float]] | None = None) -> Surrogate:
    return Surrogate(
        features=SCORES, scores=SCORES, acceptance=None if acceptance is None else torch.tensor(acceptance)
    )


def test_without_rejection_the_loss_is_the_mean_lead_over_the_truth() -> None:
    goal = Untargeted(truth=TRUTH)
    # Leads of the draws: 2 - 3 and 5 - 0; 4 - 2 and 3 - 2.
    assert goal.loss(seen()).tolist() == [2.0, 1.5]
    assert goal.success(seen()).tolist() == [False, True]
    assert losing(TRUTH, seen()).tolist() == [[0], [2]]


def test_a_rejected_answer_is_behind_by_its_lack_of_acceptance() -> None:
    # Rejections: 3 - 1 = 2 and 5 + 2 = 7; 4 - 0.5 = 3.5 and 3 + 0.25 = 3.25.
    surrogate = seen([[1.0, -2.0], [0.5, -0.25]])
    # Leads of the best wrong class over truth and rejection: 2 - 3, 5 - 7; 4 - 3.5, 3 - 3.25.
    assert Untargeted(truth=TRUTH).loss(surrogate).tolist() == [-1.5, 0.125]
    assert Untargeted(truth=TRUTH).success(surrogate).tolist() == [False, False]
    assert losing(TRUTH, surrogate).tolist() == [[0, 3], [2, 3]]


def test_it_is_reached_where_every_draw_is_accepted_and_wrong() -> None:
    goal = Untargeted(truth=TRUTH)
    assert goal.success(seen([[9.0, 9.0], [0.5, 0.25]])).tolist() == [False, True]
    assert goal.success(seen([[9.0, 9.0], [0.5, -0.25]])).tolist() == [False, False]


def test_a_tie_counts_for_the_defender() -> None:
    goal = Untargeted(truth=torch.tensor([1, 1]))
    scores = torch.tensor([[[2.0, 2.0, 0.0]], [[2.0, 1.0, 0.0]]])
    tied = Surrogate(features=scores, scores=scores, acceptance=torch.tensor([[1.0], [0.0]]))
    assert goal.loss(tied).tolist() == [0, 0]
    assert goal.success(tied).tolist() == [False, False]


@given(
    st.lists(st.floats(-50, 50, width=32), min_size=4, max_size=4),
    st.floats(-20, 20, width=32).filter(lambda value: abs(value) > 1e-3),
)
def test_the_appended_column_leads_exactly_where_acceptance_is_below_zero(
    scores: list[float], acceptance: float
) -> None:
    row = torch.tensor([[scores]])
    view = with_rejection(Surrogate(features=row, scores=row, acceptance=torch.tensor([[acceptance]])))
    assert torch.equal(view.scores[..., :4], row)
    assert (int(view.scores.argmax()) == 4) == (acceptance < 0)
    assert view.auxiliary.shape == (1, 1, 0, 4)


def test_auxiliary_scores_are_passed_on() -> None:
    auxiliary = torch.arange(24.0).view(2, 2, 2, 3)
    view = with_rejection(Surrogate(features=SCORES, scores=SCORES, auxiliary=auxiliary))
    assert view.auxiliary is auxiliary
    assert view.scores is SCORES


def objective(defense: Defense | None = None) -> UntargetedObjective:
    model = LinearClassifier(directions(3))
    truth = model(images(4)).argmax(1)
    return UntargetedObjective(goal=Untargeted(truth=truth), victim=Guarded(model, defense))


def test_it_shows_an_attack_the_scores_of_the_victim() -> None:
    one, keys = objective(), Keys.of(0, range(4))
    assert isinstance(one, ClassObjective)
    assert one.classes == 3 and not one.rejects
    assert torch.equal(one.losing, one.goal.truth[:, None])
    scores = LinearClassifier(directions(3))(images(4))
    assert torch.equal(one.logits(images(4), keys).scores[:, 0], scores)
    assert one.with_draws(7).draws == 7


def test_whether_an_answer_can_be_rejected_the_victim_says_itself() -> None:
    """Whoever forgets the rejection would call a rejected answer a success of the attacker."""
    keys = Keys.of(0, range(4))
    one = objective(AlwaysReject())
    assert one.rejects and one.classes == 3
    assert one.losing.tolist() == [[int(t), 3] for t in one.goal.truth]
    wrong = replace(one, goal=Untargeted(truth=(one.goal.truth + 1) % 3))
    for against in (one, wrong):
        shown = against.logits(images(4), keys)
        assert shown.scores.shape == (4, 1, 4)
        assert not bool(fooled(shown.scores, against.losing).any())
        assert torch.equal(fooled(shown.scores, against.losing), against(images(4), keys).success)
    bare = replace(wrong, victim=Guarded(LinearClassifier(directions(3))))
    assert bool(bare(images(4), keys).success.all())


def test_taking_rows_is_judging_them_alone() -> None:
    whole, keys, rows = objective(), Keys.of(0, range(4)), torch.tensor([2, 0])
    evaluation, part = whole(images(4), keys), whole.take(rows)
    assert torch.equal(part(images(4)[rows], keys[rows]).loss, evaluation.loss[rows])
    assert torch.equal(part.losing, whole.losing[rows])


def test_no_number_is_no_success() -> None:
    """NaN answers nothing: neither among the scores nor in the acceptance."""
    goal, nan = Untargeted(truth=torch.tensor([0])), float("nan")
    for scores, acceptance in (
        ([nan, nan, nan], 1.0),
        ([0.0, nan, nan], 1.0),
        ([nan, 1.0, 0.0], 1.0),
        ([0.0, 1, 0], nan),
    ):
        row = torch.tensor([[scores]])
        guarded = Surrogate(features=row, scores=row, acceptance=torch.tensor([[acceptance]]))
        assert goal.success(guarded).tolist() == [False], (scores, acceptance)
        if acceptance == acceptance:
            assert goal.success(Surrogate(features=row, scores=row)).tolist() == [False], scores


@pytest.mark.parametrize("eps", [2 / 255, 8 / 255])
def test_two_linear_scores_part_by_what_the_norm_of_their_difference_allows(eps: float) -> None:
    """The lead of the other class is linear: its optimum is clean + eps |w_other - w_truth|_1."""
    model = LinearClassifier(directions(2))
    x, keys = images(6), Keys.of(0, range(6))
    truth = model(x).argmax(1)
    against = UntargetedObjective(goal=Untargeted(truth=truth), victim=Guarded(model))
    found = PGD(steps=10)(against, x, Threat(eps=eps), keys)
    reach = eps * (model.weights[0] - model.weights[1]).abs().sum()
    best = against(x, keys).loss + reach
    assert torch.allclose(against(found.x, keys).loss, best, atol=1e-4)
    assert torch.equal(against(found.x, keys).success, best > 0)
    assert bool((best < 0).any()) or eps > 4 / 255


# --- several victims -----------------------------------------------------------------------

SIX, TRUTHS = Keys.of(0, range(6)), torch.tensor([0, 1, 2, 0, 1, 2])


def member(seed: int, classes: int = 3) -> UntargetedObjective:
    model = LinearClassifier(directions(classes, seed), f"linear {seed}")
    victim = Guarded(model)
    return UntargetedObjective(goal=Untargeted(truth=TRUTHS), victim=victim)


def test_an_ensemble_shows_scores_too() -> None:
    ensemble = UntargetedEnsemble(members=(member(0), member(1)), split=False)
    assert isinstance(ensemble, ClassObjective) and isinstance(ensemble, Ensemble)
    assert ensemble.parts == (ensemble,) and ensemble.classes == 3
    assert torch.equal(ensemble.losing, TRUTHS[:, None])


def test_every_victim_s_look_is_a_draw() -> None:
    members = (member(0), member(1))
    seen = UntargetedEnsemble(members=members).logits(images(6), SIX)
    alone = [each.logits(images(6), SIX) for each in members]
    assert seen.scores.shape == (6, 2, 3) and seen.auxiliary.shape == (6, 2, 0, 3)
    assert torch.equal(seen.scores, torch.cat([view.scores for view in alone], 1))


def test_success_is_to_fool_all_and_the_loss_is_the_mean() -> None:
    members = (member(0), member(1))
    evaluation = UntargetedEnsemble(members=members)(images(6), SIX)
    alone = [each(images(6), SIX) for each in members]
    assert torch.equal(evaluation.success, alone[0].success & alone[1].success)
    assert torch.allclose(evaluation.loss, (alone[0].loss + alone[1].loss) / 2)
    assert len({tuple(each.success.tolist()) for each in alone}) == 2


def test_rows_and_draws_are_taken_of_every_member() -> None:
    ensemble, rows = UntargetedEnsemble(members=(member(0), member(1))), torch.tensor([4, 0])
    part = ensemble.take(rows)
    assert torch.equal(part.losing, TRUTHS[rows, None])
    whole = ensemble.logits(images(6), SIX).scores
    assert torch.equal(part.logits(images(6)[rows], SIX[rows]).scores, whole[rows])
    assert [each.draws for each in ensemble.with_draws(7).members] == [7, 7]


def test_victims_of_other_classes_do_not_fit() -> None:
    with pytest.raises(InvalidInput, match="must have the same classes"):
        UntargetedEnsemble(members=(member(0), member(1, classes=4)))


def test_victims_of_which_one_rejects_do_not_fit() -> None:
    model = LinearClassifier(directions(3))
    rejecting = replace(member(1), victim=Guarded(model, AlwaysReject()))
    with pytest.raises(InvalidInput, match="all of them reject or none"):
        UntargetedEnsemble(members=(member(0), rejecting))
