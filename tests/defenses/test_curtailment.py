"""A vote that stops sooner ends otherwise no more often than was said, whatever the draws."""

from itertools import product
from math import prod

import pytest
import torch
from torch import Tensor

from secondlook.decision import Decision
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.curtailment import disagreement, stopping_leads
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.voting import Poll, Rule
from secondlook.errors import InvalidInput
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, ReadOut, Scripted, directions, images


def decide(votes: Tensor, error: float, rule: Rule = "plurality") -> Decision:
    """The decision where the draws of each sample vote as listed, ``[B, N]``."""
    scores, keys = torch.eye(3)[votes], Keys.of(0, range(len(votes)))
    made = Consensus(purifier=Scripted(keys, scores), samples=votes.shape[1], rule=rule, stop_error=error)
    return Guarded(ReadOut(3), made).decide(torch.zeros(len(votes), 3, 4, 4), keys)


@pytest.mark.parametrize("error", [0.01, 0.03, 0.1, 0.3])
@pytest.mark.parametrize(
    "chances", [(0.5, 0.5, 0.0), (0.45, 0.55, 0.0), (0.34, 0.33, 0.33), (0.8, 0.1, 0.1), (0.4, 0.3, 0.3)]
)
def test_the_error_is_at_most_what_was_said(error: float, chances: tuple[float, ...]) -> None:
    votes = torch.tensor([*product(range(3), repeat=7)])
    weights = torch.tensor([prod(chances[vote] for vote in row) for row in votes.tolist()])
    for rule in ("plurality", "majority"):
        full, soon = decide(votes, 0.0, rule), decide(votes, error, rule)
        other = (full.accepted != soon.accepted) | (full.accepted & (full.answer != soon.answer))
        assert float(weights[other].sum()) <= error + 1e-6
        assert (soon.draws <= full.draws).all()


def test_no_error_is_the_exact_stop() -> None:
    votes = torch.randint(3, (300, 9), generator=torch.Generator().manual_seed(0))
    exact = stopping_leads(9, 0.0)
    assert disagreement(9, exact) == 0
    full, soon = decide(votes, 0.0), decide(votes, 1e-9)
    assert torch.equal(full.draws, soon.draws) and torch.equal(full.answer, soon.answer)


def test_ten_votes_that_agree_stop_at_the_fourth() -> None:
    votes = torch.zeros(4, 10, dtype=torch.long)
    assert decide(votes, 0.0).draws.tolist() == [6] * 4
    assert decide(votes, 0.03).draws.tolist() == [4] * 4
    leads = stopping_leads(10, 0.03)
    assert leads[3] > 3 and leads[4] in (3, 4) and 0.01 < disagreement(10, leads) <= 0.03


def test_a_larger_error_never_waits_longer() -> None:
    strict, loose = (torch.tensor(stopping_leads(25, error)) for error in (0.01, 0.1))
    assert (loose <= strict).all() and (loose < strict).any()


def test_the_first_look_is_as_late_as_it_must_be() -> None:
    for votes, error in ((10, 0.0), (10, 0.03), (1, 0.5), (2, 0.9)):
        poll = Poll(torch.zeros(1, 1), votes, "plurality", error)
        leads = stopping_leads(votes, error)
        assert poll.first == min([votes // 2 + 1, *(n for n in range(votes + 1) if error and leads[n] <= n)])


def test_draws_do_not_depend_on_the_batch() -> None:
    x, keys = images(40), Keys.of(3, range(40))
    made = Consensus(purifier=NoisePurifier(0.3), samples=15, stop_error=0.05)
    guarded = Guarded(LinearClassifier(directions(3)), made)
    whole = guarded.decide(x, keys)
    parts = [guarded.decide(x[i : i + 7], keys[i : i + 7]) for i in range(0, 40, 7)]
    assert whole.draws.tolist() == [n for part in parts for n in part.draws.tolist()]
    assert len(set(whole.draws.tolist())) > 1


def test_an_error_without_a_stop_is_refused() -> None:
    with pytest.raises(InvalidInput, match="needs every draw"):
        Consensus(purifier=NoisePurifier(0.1), rule="mean", stop_error=0.1)
    with pytest.raises(InvalidInput, match="early_stop = false"):
        Consensus(purifier=NoisePurifier(0.1), early_stop=False, stop_error=0.1)
    with pytest.raises(InvalidInput, match="stop_error"):
        Consensus(purifier=NoisePurifier(0.1), stop_error=1.5)
