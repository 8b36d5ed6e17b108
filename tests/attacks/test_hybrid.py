"""Hybrid: gradients go to the surrogates, queries to the victim, from where the first stage led."""

from typing import Any

import pytest
import torch

from secondlook.attacks.di_fgsm import DIFGSM
from secondlook.attacks.hybrid import Hybrid
from secondlook.attacks.square import Square
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.objectives.base import Ensemble, TransferThenQuery
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import Slope, directions, images

COUNT = 6
KEYS = Keys.of(0, range(COUNT))
THREAT = Threat(eps=8 / 255)
SURROGATE = Slope(weights=directions(COUNT), name="surrogate")
OTHER = Slope(weights=directions(COUNT, 2), name="other")


def both(surrogate: Any = SURROGATE, bar: float = float("inf")) -> TransferThenQuery:
    """A surrogate, and a victim that is like it in half of the pixels."""
    weights = directions(COUNT)
    weights[:, :, :2] = directions(COUNT, 1)[:, :, :2]
    return TransferThenQuery(
        surrogate=surrogate, victim=Slope(weights=weights, name="victim", bar=torch.full((COUNT,), bar))
    )


def test_gradients_go_to_the_surrogate_and_queries_to_the_victim() -> None:
    with counting() as ledger:
        found = Hybrid(transfer_steps=5, queries=20)(both(), images(COUNT), THREAT, KEYS)
    assert ledger.by_model == {"surrogate": [COUNT * 5, COUNT * 5], "victim": [COUNT * 21, 0]}
    assert found.trace.steps.tolist() == [21] * COUNT


@pytest.mark.parametrize(("split", "steps"), [(True, 10), (False, 10)])
def test_an_ensemble_takes_its_steps_in_the_first_stage(split: bool, steps: int) -> None:
    members = Ensemble(members=(SURROGATE, OTHER), split=split)
    with counting() as ledger:
        Hybrid(transfer_steps=steps, queries=1)(both(members), images(COUNT), THREAT, KEYS)
    assert ledger.by_model["surrogate"] == ledger.by_model["other"] == [COUNT * steps] * 2


def test_the_first_query_is_where_the_transfer_ended() -> None:
    found = Hybrid(transfer_steps=5, queries=1).search(both(), images(COUNT), THREAT, KEYS).x
    start = DIFGSM(steps=5).search(SURROGATE, images(COUNT), THREAT, KEYS.fold("transfer")).x
    assert torch.equal(found, start)


def test_it_gets_further_than_either_stage_alone() -> None:
    clean, threat = images(COUNT), THREAT
    victim = both().victim
    alone = Square(queries=40, loss="").search(victim, clean, threat, KEYS).x
    start = Hybrid(queries=1).search(both(), clean, threat, KEYS).x
    found = Hybrid(queries=40).search(both(), clean, threat, KEYS).x
    losses = [victim(x, KEYS).loss.mean() for x in (alone, start, found)]
    assert losses[2] > losses[1] + 0.01 and losses[2] > losses[0] + 0.01


def test_whom_the_transfer_has_fooled_is_asked_about_twice() -> None:
    bar = float(both().victim(images(COUNT), KEYS).loss.max()) + 1e-3
    easy = TransferThenQuery(surrogate=both().victim, victim=both(bar=bar).victim)
    found = Hybrid(transfer_steps=3, queries=30).search(easy, images(COUNT), Threat(eps=0.5), KEYS)
    assert found.trace.steps.tolist() == [2] * COUNT
    assert found.success is not None and bool(found.success.all())


def test_a_sample_does_not_depend_on_who_is_beside_it() -> None:
    whole = Hybrid(transfer_steps=3, queries=15).search(both(), images(COUNT), THREAT, KEYS).x
    rows = torch.tensor([4, 1])
    some = Hybrid(transfer_steps=3, queries=15).search(both().take(rows), images(COUNT)[rows], THREAT, KEYS[rows]).x
    assert torch.equal(some, whole[rows])


def test_one_objective_is_no_two_stages() -> None:
    with pytest.raises(InvalidInput, match="take square"):
        Hybrid()(SURROGATE, images(COUNT), THREAT, KEYS)


@pytest.mark.parametrize("changes", [{"queries": 0}, {"transfer_steps": 0}, {"p_init": 0.0}, {"p_init": 1.5}])
def test_a_setting_out_of_range_is_named(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(changes))):
        Hybrid(**changes)
