"""What a guard spends on inputs, and on those that are made to cost it."""

import pytest
from torch import Tensor

from secondlook.data import load as open_source
from secondlook.defenses.cascade import cascade
from secondlook.defenses.consistency import MagNet
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.stack import Stack
from secondlook.guard.expense import Expense, dearest, expense
from secondlook.models import load
from secondlook.randomness import Keys
from secondlook.threat import Threat

KEYS = Keys.of(0, range(4))
VOTE = {"name": "noise", "samples": 8}


@pytest.fixture(scope="module")
def x() -> Tensor:
    return open_source("scenes:test").read(range(4), None).images


def stacked(threshold: float) -> Guarded:
    settings = {"false_rejection": 0.0, "threshold": threshold, "scales": [[0.0, 1.0], [0.0, 1.0]]}
    return Guarded(load("scenes:classifier"), Stack(stack=[VOTE, "squeezing", "magnet"], **settings))


def test_an_input_that_is_rejected_at_once_costs_one_stage_and_no_vote(x: Tensor) -> None:
    found = expense(stacked(-1e9), x, KEYS)
    assert (found.n, found.stages) == (4, 4)
    assert found.forwards < expense(stacked(1e9), x, KEYS).forwards


def test_an_input_that_is_accepted_costs_every_stage(x: Tensor) -> None:
    assert expense(stacked(1e9), x, KEYS).stages == 8


def test_what_is_made_to_cost_draws_more_votes_than_clean_inputs(x: Tensor) -> None:
    guarded, threat = stacked(1e9), Threat(norm="linf", eps=16 / 255, grid=255)
    made = dearest(guarded, x, threat, KEYS, steps=5)
    threat.check(made, x)
    assert expense(guarded, made, KEYS).forwards > expense(guarded, x, KEYS).forwards


def test_what_is_made_to_cost_gets_past_the_first_stage(x: Tensor) -> None:
    each = cascade(stacked(1e9), x, KEYS).each
    scales = [[float(each[:, 0].median()), 0.1], [2 * float(each[:, 1].max()), 0.1]]
    defense = Stack(stack=["squeezing", "magnet"], false_rejection=0.0, threshold=0.0, scales=scales)
    guarded = Guarded(load("scenes:classifier"), defense)
    before = expense(guarded, x, KEYS)
    made = dearest(guarded, x, Threat(norm="linf", eps=8 / 255, grid=255), KEYS, steps=20)
    assert 4 < before.stages < expense(guarded, made, KEYS).stages


@pytest.mark.parametrize("name", ["scenes:clip", "scenes:captioner"])
def test_embedders_and_captioners_are_made_to_cost_too(name: str, x: Tensor) -> None:
    each = cascade(Guarded(load(name), MagNet(threshold=1e9, false_rejection=0.0)), x, KEYS).each
    guarded = Guarded(load(name), MagNet(threshold=float(each.median()), false_rejection=0.0))
    before = guarded.decide(x, KEYS).accepted
    made = dearest(guarded, x, Threat(norm="linf", eps=8 / 255, grid=255), KEYS, steps=10)
    assert guarded.decide(made, KEYS).accepted.sum() > before.sum()


def test_expenses_add_up() -> None:
    assert Expense(1, 2, 3) + Expense(4, 5, 6) == Expense(5, 7, 9)
