"""RGF: the estimate is right within its standard error, and queries are what the ledger says."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from secondlook.attacks.rgf import RGF
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import SHAPE, Bowl, Slope, directions, global_generators, images

KEYS = Keys.of(0, range(6))
MANY = 4000


def scores(found: Tensor, truth: Tensor, noise: Tensor) -> Tensor:
    """How many standard errors each coordinate of a mean over ``MANY`` queries is off."""
    others = truth.square().flatten(1).sum(1).view(-1, 1, 1, 1) - truth.square()
    return (found - truth) / ((others + noise) / MANY).sqrt()


@pytest.mark.parametrize("sigma", [1 / 255, 8 / 255])
def test_of_a_linear_function_the_estimate_is_unbiased_within_its_standard_error(sigma: float) -> None:
    weights, x = directions(6), images(6)
    slope = Slope(weights=weights)
    found = RGF(queries=MANY, sigma=sigma, chunk=3000).estimated(slope, x, slope(x, KEYS).loss, KEYS)
    off = scores(found, weights, torch.zeros(1))
    assert float(off.abs().max()) < 4.5
    assert float(off.square().mean()) == pytest.approx(1, abs=0.25)
    assert abs(float(off.mean())) < 0.25


def test_of_a_quadratic_function_too_though_the_step_is_not_small() -> None:
    """Of -|x - c|² / 2 the rise has a term more, -sigma d / 2, which only adds to the variance."""
    center, x, sigma = images(6, seed=1), images(6), 8 / 255
    bowl = Bowl(center=center)
    found = RGF(queries=MANY, sigma=sigma).estimated(bowl, x, bowl(x, KEYS).loss, KEYS)
    extra = torch.tensor((sigma * x[0].numel() / 2) ** 2)
    off = scores(found, center - x, extra)
    assert float(off.abs().max()) < 4.5
    assert float(off.square().mean()) == pytest.approx(1, abs=0.25)


def test_directions_are_signs_and_a_query_stays_an_image() -> None:
    asked: list[Tensor] = []

    class Spy(Slope):
        def __call__(self, x: Tensor, keys: Keys):  # type: ignore[no-untyped-def]
            asked.append(x)
            return super().__call__(x, keys)

    x = torch.full((2, *SHAPE), 2 / 255)
    RGF(queries=5, sigma=8 / 255).estimated(Spy(weights=directions(2)), x, torch.zeros(2), KEYS[:2])
    assert {round(level) for level in (torch.cat(asked) * 255).unique().tolist()} == {0, 10}


def test_queries_are_counted_by_the_victim() -> None:
    with counting() as ledger:
        RGF(steps=3, queries=7)(Slope(weights=directions(6)), images(6), Threat(eps=0.1), KEYS)
    assert (ledger.forwards, ledger.backwards) == (6 * (3 * (7 + 1) + 1), 0)
    with counting() as ledger:
        RGF(steps=3, queries=7, keep_best=False)(Slope(weights=directions(6)), images(6), Threat(eps=0.1), KEYS)
    assert ledger.forwards == 6 * 3 * 8


def test_enough_queries_reach_the_corner() -> None:
    weights = directions(6)
    threat = Threat(eps=8 / 255)
    found = RGF(queries=1500)(Slope(weights=weights), images(6), threat, KEYS)
    right = (found.x - images(6)).sign() == weights.sign()
    assert float(right.float().mean()) > 0.95
    assert found.trace.steps.tolist() == [8] * 6
    assert bool((found.trace.last_loss > found.trace.first_loss).all())


def test_draws_do_not_change_with_batch_chunk_or_order() -> None:
    attack, threat, weights = RGF(queries=6, chunk=5), Threat(eps=0.05), directions(6)
    before = global_generators()
    whole = attack(Slope(weights=weights), images(6), threat, KEYS).x
    order = torch.tensor([4, 0, 2])
    some = replace(attack, chunk=0)(Slope(weights=weights[order]), images(6)[order], threat, KEYS[order]).x
    assert torch.equal(whole[order], some)
    assert global_generators() == before


@pytest.mark.parametrize(
    ("change", "said"), [({"queries": 0}, "1 or more"), ({"sigma": 8.0}, "pixel units"), ({"step": 0.0}, "pixel units")]
)
def test_a_number_out_of_range_is_named(change: dict[str, float], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        RGF(**change)  # type: ignore[arg-type]
