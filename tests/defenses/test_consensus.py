"""Votes are counted right, stop early for nothing but cost, and are drawn sample by sample."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from secondlook import registry
from secondlook.decision import Decision
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.voting import RULES, Rule
from secondlook.errors import InvalidInput, UnknownName
from secondlook.ledger import counting
from secondlook.models.base import Purifier
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.models.purifiers.jpeg import JpegPurifier
from secondlook.randomness import Keys
from tests.analytic import Coin, Dimmer, LinearClassifier, ReadOut, Scripted, directions, images

Votes = Sequence[int]
A, B, C = 0, 1, 2


def script(votes: Sequence[Votes], sure: float = 1.0) -> Tensor:
    """Scores ``[B, N, 3]`` of draws that vote as listed."""
    return sure * torch.eye(3)[torch.tensor(votes)]


def decide(scores: Tensor, rule: Rule = "plurality", early_stop: bool = True) -> Decision:
    """The decision on a batch whose draws score as scripted."""
    keys = Keys.of(0, range(len(scores)))
    defense = Guarded(
        ReadOut(scores.shape[2]),
        Consensus(purifier=Scripted(keys, scores), samples=scores.shape[1], rule=rule, early_stop=early_stop),
    )
    return defense.decide(torch.zeros(len(scores), 3, 4, 4), keys)


# --- the rules ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("votes", "rule", "answer", "accepted"),
    [
        ([A, A, B], "plurality", A, True),
        ([A, B, B, C, C, C], "plurality", C, True),
        ([C], "plurality", C, True),
        ([A, A, B], "majority", A, True),
        ([A, A, B, C, C], "majority", None, False),
        ([A, A, B, B], "majority", None, False),
        ([A, A, A, B, B, B], "majority", None, False),
        ([A, A, A, A, B, B], "majority", A, True),
        ([B], "majority", B, True),
        ([A, A, B], "mean", A, True),
    ],
)
@pytest.mark.parametrize("early_stop", [True, False])
def test_votes_decide(votes: Votes, rule: Rule, answer: int | None, accepted: bool, early_stop: bool) -> None:
    seen = decide(script([votes, votes]), rule, early_stop)
    assert seen.accepted.tolist() == [accepted] * 2
    if answer is not None:
        assert seen.answer.tolist() == [answer] * 2


def test_votes_are_those_of_each_sample() -> None:
    votes = [[A, B, A, C], [C, C, C, C], [B, A, B, B]]
    seen = decide(script(votes), early_stop=False)
    assert seen.votes.tolist() == [[2, 1, 1], [0, 0, 4], [1, 3, 0]]
    assert seen.draws.tolist() == [4, 4, 4]
    assert torch.allclose(seen.features, script(votes).mean(1))


@pytest.mark.parametrize("early_stop", [True, False])
def test_a_tie_goes_to_the_higher_mean_score(early_stop: bool) -> None:
    """Two votes each for A and B; B was surer of itself, or C was close behind it."""
    surer = torch.tensor([[[0.5, 0, 0], [0, 0.9, 0], [0.5, 0, 0], [0, 0.9, 0]]])
    third = torch.tensor([[[0.5, 0, 0.4], [0, 0.6, 0.5], [0.5, 0.1, 0.4], [0, 0.6, 0.5]]])
    for scores, winner in ((surer, B), (surer[..., [1, 0, 2]], A), (third, B)):
        assert decide(scores, "plurality", early_stop).answer.tolist() == [winner]
    assert decide(third, "mean", early_stop).answer.tolist() == [C]


def test_a_surer_minority_does_not_win_a_plurality() -> None:
    scores = torch.tensor([[[0.1, 0, 0], [0.1, 0, 0], [0, 1.0, 0]]])
    assert decide(scores, "plurality").answer.tolist() == [A]
    assert decide(scores, "mean").answer.tolist() == [B]


def test_the_runners_up_are_ranked_by_votes_then_by_score() -> None:
    scores = script([[A, A, A, B, B, C, C]])
    scores[0, 5:] *= 0.5
    seen = decide(scores, early_stop=False)
    assert seen.scores.argsort(1, descending=True).tolist() == [[A, B, C]]
    assert bool(seen.in_top(2, torch.tensor([B])))
    assert not bool(seen.in_top(2, torch.tensor([C])))


# --- stopping early ----------------------------------------------------------------------------


@st.composite
def scripts(draw: st.DrawFn) -> Tensor:
    """Scores in eighths, which sum exactly in any order; ties of all kinds are common."""
    samples, voters, classes = (draw(st.integers(1, n)) for n in (3, 9, 3))
    eighths = st.lists(st.integers(0, 8), min_size=(count := samples * voters * (classes + 1)), max_size=count)
    return torch.tensor(draw(eighths)).view(samples, voters, classes + 1) / 8


def by_hand(scores: Tensor, rule: Rule) -> tuple[bool, set[int]]:
    """Whether one sample is accepted, and which answers are right (more where means tie)."""
    voters, classes = scores.shape
    votes = [sum(int(draw.argmax()) == k for draw in scores) for k in range(classes)]
    means = scores.sum(0).tolist()
    if rule == "majority" and 2 * max(votes) <= voters:
        return False, set(range(classes))
    rank = means if rule == "mean" else list(zip(votes, means, strict=True))
    return True, {k for k in range(classes) if rank[k] == max(rank)}


@given(scripts(), st.sampled_from(RULES))
def test_stopping_early_changes_nothing_but_the_cost(scores: Tensor, rule: Rule) -> None:
    with counting() as early_cost:
        early = decide(scores, rule, early_stop=True)
    with counting() as full_cost:
        full = decide(scores, rule, early_stop=False)
    assert early.accepted.tolist() == full.accepted.tolist()
    assert early.answer[early.accepted].tolist() == full.answer[full.accepted].tolist()
    assert full.draws.tolist() == [scores.shape[1]] * len(scores)
    for sample, script_ in enumerate(scores):
        accepted, answers = by_hand(script_, rule)
        assert bool(full.accepted[sample]) == accepted
        assert int(full.answer[sample]) in answers
    # Each draw is purified and encoded once; the first look is encoded, too.
    for seen, cost in ((early, early_cost), (full, full_cost)):
        draws = int(seen.draws.sum())
        assert cost.by_model["scripted"][0] == draws
        assert cost.by_model["readout"][0] == draws + len(scores)
        assert torch.equal(seen.votes.sum(1), seen.draws)
        for mean, script_, drawn in zip(seen.features, scores, seen.draws.tolist(), strict=True):
            assert torch.allclose(mean, script_[:drawn].mean(0))
    assert early_cost.forwards <= full_cost.forwards


@pytest.mark.parametrize(
    ("votes", "rule", "draws"),
    [
        ([A] * 10, "plurality", 6),
        ([A] * 10, "majority", 6),
        ([A] * 5 + [B] * 5, "plurality", 10),
        ([A, B, A, B, A, B, A, B, A, A], "plurality", 10),
        ([A, B] + [A] * 8, "plurality", 7),
        ([A, B, C] * 3 + [A], "majority", 8),
        ([A] * 10, "mean", 10),
        ([A], "plurality", 1),
        ([A, A, B], "plurality", 2),
    ],
)
def test_voting_stops_when_the_outcome_is_certain(votes: Votes, rule: Rule, draws: int) -> None:
    assert decide(script([votes]), rule).draws.tolist() == [draws]


def test_a_sure_sample_does_not_wait_for_an_unsure_one() -> None:
    votes = [[A] * 10, [A, B] * 5, [B] * 10]
    with counting() as ledger:
        seen = decide(script(votes))
    assert seen.draws.tolist() == [6, 10, 6]
    assert ledger.by_model == {"scripted": [22, 0], "readout": [25, 0]}


# --- the draws ---------------------------------------------------------------------------------


@pytest.mark.parametrize("early_stop", [True, False])
def test_draws_do_not_depend_on_the_batch(early_stop: bool) -> None:
    keys, x = Keys.of(0, range(9)), images(9)
    defense = Guarded(
        LinearClassifier(directions(3)), Consensus(purifier=NoisePurifier(0.3), samples=7, early_stop=early_stop)
    )
    whole = defense.decide(x, keys)
    assert len(set(whole.draws.tolist())) > 1 or not early_stop
    for rows in ([0, 1, 2, 3], [8, 3, 5], [7], list(reversed(range(9)))):
        part = defense.decide(x[rows], keys[torch.tensor(rows)])
        for name in ("votes", "draws", "scores", "features", "accepted"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[rows]), name
    assert not torch.equal(defense.decide(x, keys.fold("again")).features, whole.features)


def test_votes_of_a_coin_are_binomial() -> None:
    keys = Keys.of(0, range(400))
    defense = Guarded(ReadOut(2), Consensus(purifier=Coin(0.3), samples=10, early_stop=False))
    heads = defense.decide(torch.zeros(400, 3, 4, 4), keys).votes[:, 1].double()
    assert float(heads.mean()) == pytest.approx(3, abs=5 * (2.1 / 400) ** 0.5)
    assert float(heads.var()) == pytest.approx(2.1, abs=0.75)


def test_a_deterministic_purifier_is_asked_once() -> None:
    keys, x = Keys.of(0, range(4)), images(4)
    model = LinearClassifier(directions(3))
    defense = Guarded(model, Consensus(purifier=JpegPurifier(50), samples=10, rule="majority"))
    with counting() as ledger:
        seen = defense.decide(x, keys)
    assert seen.draws.tolist() == [1] * 4
    assert bool(seen.accepted.all())
    assert ledger.by_model == {"jpeg:50": [4, 0], "linear": [8, 0]}
    assert not defense.stochastic
    assert defense.surrogate(x, keys, draws=10).features.shape[1] == 1


def test_suspicion_is_the_turn_away_from_the_first_look() -> None:
    """The image reads (1, 0, 0); its reconstructions read the same, or at a right angle."""
    keys, x = Keys.of(0, range(2)), torch.zeros(2, 3, 4, 4)
    x[:, 0, 0, 0] = 1
    purifier = Scripted(keys, script([[A, A, A], [B, B, B]], sure=0.5))
    defense = Guarded(ReadOut(3), Consensus(purifier=purifier, samples=3))
    assert defense.decide(x, keys).suspicion.tolist() == pytest.approx([0, 1], abs=1e-6)


# --- the adaptive side -------------------------------------------------------------------------


@pytest.mark.parametrize("gradient", ["full", "bpda"])
def test_the_gradient_goes_through_the_purifier_or_past_it(gradient: Any) -> None:
    keys, model, purifier = Keys.of(0, range(4)), LinearClassifier(directions(3)), Dimmer()
    defense = Guarded(model, Consensus(purifier=purifier))
    x = images(4).requires_grad_()
    with counting() as ledger:
        seen = defense.surrogate(x, keys, draws=5, gradient=gradient)
        (found,) = torch.autograd.grad(seen.scores[..., 1].mean(1).sum(), x)
    factors = purifier.factors(keys.repeat(5)).view(4, 5)
    through = factors.mean(1) if gradient == "full" else torch.ones(4)
    assert torch.allclose(found, through.view(4, 1, 1, 1) * model.weights[1], atol=1e-5)
    # Either way the draws themselves are looked at, folded into one batch.
    expected = factors[..., None] * images(4).flatten(1)[:, None]
    assert torch.allclose(seen.features, expected, atol=1e-6)
    backwards = 20 if gradient == "full" else 0
    assert ledger.by_model == {"dimmer": [20, backwards], "linear": [20, 20]}


class Opaque(JpegPurifier):
    """Says that its gradient is of no use."""

    differentiable = False


def test_what_has_no_useful_gradient_is_passed_straight_on() -> None:
    keys, model = Keys.of(0, range(4)), LinearClassifier(directions(3))
    x = images(4).requires_grad_()
    seen = Guarded(model, Consensus(purifier=Opaque(20))).surrogate(x, keys, gradient="full")
    (found,) = torch.autograd.grad(seen.scores[..., 1].sum(), x)
    assert torch.allclose(found, model.weights[1].expand(4, -1, -1, -1))
    assert not torch.allclose(seen.features[:, 0], x.flatten(1), atol=1e-2)


def test_a_surrogate_is_what_the_vote_would_see() -> None:
    """With the same keys; that a decision has fresh ones is the audit's business."""
    keys, x = Keys.of(0, range(4)), images(4)
    model = LinearClassifier(directions(3))
    defense = Guarded(model, Consensus(purifier=Dimmer(), samples=6, early_stop=False))
    seen = defense.surrogate(x, keys, draws=6)
    decided = defense.decide(x, keys)
    assert torch.allclose(seen.features.mean(1), decided.features, atol=1e-6)
    assert torch.allclose(seen.share * 6, decided.votes.float())


# --- settings ----------------------------------------------------------------------------------


class Tunable(NoisePurifier):
    def with_noise(self, noise: float) -> Purifier:
        return Tunable(noise)


def test_the_noise_of_the_purifier_can_be_set() -> None:
    assert Consensus(purifier=Tunable(0.1), noise=0.7).reconstructor.name == "noise:0.7"
    assert Consensus(purifier=Tunable(0.1)).reconstructor.name == "noise:0.1"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"samples": 0}, "samples=0; write 1 or more"),
        ({"samples": -3}, "samples=-3"),
        ({"rule": "majorty"}, "rule='majorty'; write 'plurality', 'majority' or 'mean'"),
        ({"purifier": 3}, "purifier=3 is no purifier; try scenes:vae"),
        ({"purifier": LinearClassifier(directions(3))}, "is no purifier"),
        ({"noise": 0.5}, "coin has no noise to tune; leave noise=0.5 out"),
    ],
)
def test_bad_settings(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        Consensus(**{"purifier": Coin(0.5), **settings})


def test_what_a_user_may_set() -> None:
    config = {"samples": "4", "rule": "mean", "early_stop": "false", "purifier": Coin(0.5)}
    built = registry.build("defense", "consensus", config)
    assert (built.samples, built.rule, built.early_stop) == (4, "mean", False)
    with pytest.raises(UnknownName, match="did you mean samples"):
        registry.build("defense", "consensus", {"sample": 4})
