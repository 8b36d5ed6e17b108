"""FGSM goes the whole way in one step."""

import pytest
import torch

from secondlook.attacks.fgsm import FGSM
from secondlook.ledger import counting
from secondlook.randomness import Keys
from secondlook.threat import Threat, per_sample
from tests.analytic import Slope, directions, images

KEYS = Keys.of(0, range(6))


def test_one_step_to_the_corner_at_the_cost_of_one_look() -> None:
    threat, weights = Threat(eps=8 / 255), directions(6)
    with counting() as ledger:
        found = FGSM()(Slope(weights=weights), images(6), threat, KEYS)
    assert torch.allclose(found.x, images(6) + threat.eps * weights.sign())
    assert (ledger.forwards, ledger.backwards) == (6, 6)
    assert found.trace.steps.tolist() == [1] * 6


def test_in_l2_one_step_along_the_gradient() -> None:
    threat, weights = Threat(norm="l2", eps=0.5), directions(6)
    x = FGSM().search(Slope(weights=weights), images(6), threat, KEYS).x
    assert torch.allclose(x, images(6) + 0.5 * weights / per_sample(threat.size(weights)))


def test_with_more_steps_it_is_the_basic_iterative_method() -> None:
    assert FGSM(steps=4).step_length(3, Threat(eps=0.1), torch.zeros(1, 3, 2, 2)) == pytest.approx(0.025)


def test_without_a_bound_it_crosses_the_range_in_many_steps() -> None:
    """One step to the end of the range passes over everything that lies between."""
    free = FGSM().unbounded()
    assert (type(free), free.steps, free.step_length(0, Threat(eps=1), torch.zeros(1, 3, 2, 2))) == (FGSM, 20, 0.05)
    assert FGSM(steps=30).unbounded().steps == 30
