"""The projection onto a hyperplane within the pixel range is the nearest point of it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, strategies as st
from scipy.optimize import linprog
from torch import Tensor

from secondlook.attacks.fab import reach
from secondlook.threat import Norm
from tests.analytic import directions, images

NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")
unit = st.floats(0, 1, width=32)
weight = st.floats(-3, 3, width=32).map(lambda w: 0.0 if abs(w) < 1e-3 else w)


@st.composite
def problem(draw: st.DrawFn) -> tuple[Tensor, Tensor, float]:
    """A point, a normal that is not zero, and a rise that the pixel range allows."""
    size = draw(st.integers(1, 9))
    x = torch.tensor(draw(st.lists(unit, min_size=size, max_size=size)))
    w = torch.tensor(draw(st.lists(weight, min_size=size, max_size=size)))
    w[0] = w[0] if bool(w.any()) else 1.0
    sign = draw(st.sampled_from([-1.0, 1.0]))
    # All of it is more than the pixel range allows once its sum is rounded.
    return x, w, sign * draw(st.floats(0, 0.999)) * float(farthest(x[None], sign * w[None]))


def farthest(x: Tensor, w: Tensor) -> Tensor:
    """How far ``<w, z>`` can rise within the pixel range."""
    return (w.clamp_min(0) * (1 - x) - w.clamp_max(0) * x).sum(1)


def shortest(x: Tensor, w: Tensor, rise: float, norm: Norm) -> float:
    """The length of the smallest change, by linear programming."""
    size = len(x)
    eye, one = np.eye(size), np.ones((size, 1))
    slack = one if norm == "linf" else eye
    bound = np.block([[eye, -slack], [-eye, -slack]])
    cost = np.r_[np.zeros(size), np.ones(slack.shape[1])]
    room = [(-float(v), 1 - float(v)) for v in x] + [(0, None)] * slack.shape[1]
    equal = np.r_[w.double().numpy(), np.zeros(slack.shape[1])][None]
    found = linprog(cost, bound, np.zeros(2 * size), equal, [rise], room)
    assert found.success
    return float(found.fun)


@pytest.mark.parametrize("norm", NORMS)
@given(case=problem())
def test_the_point_is_on_the_plane_and_in_the_range(norm: Norm, case: tuple[Tensor, Tensor, float]) -> None:
    x, w, rise = case
    change = reach(x[None], w[None], torch.tensor([rise]), norm)[0]
    assert float((w * change).sum()) == pytest.approx(rise, abs=2e-5)
    assert float((x + change).min()) >= 0
    assert float((x + change).max()) <= 1


@pytest.mark.parametrize("norm", ["linf", "l1"])
@given(case=problem())
def test_no_point_is_nearer(norm: Norm, case: tuple[Tensor, Tensor, float]) -> None:
    x, w, rise = case
    change = reach(x[None], w[None], torch.tensor([rise]), norm)[0].abs()
    length = float(change.max() if norm == "linf" else change.sum())
    assert length == pytest.approx(shortest(x, w, rise, norm), abs=1e-4)


@given(case=problem())
def test_in_l2_the_free_pixels_go_straight_to_the_plane(case: tuple[Tensor, Tensor, float]) -> None:
    """The conditions of Karush, Kuhn and Tucker: one factor for all, less only at the edge."""
    x, w, rise = case
    change = reach(x[None], w[None], torch.tensor([rise]), "l2")[0]
    moving = w != 0
    factors, ends = (change / w)[moving], (x + change)[moving]
    free = (ends > 1e-6) & (ends < 1 - 1e-6)
    largest = factors.abs().max()
    assert bool((factors * np.sign(rise) >= 0).all())
    assert torch.allclose(factors[free].abs(), largest.expand(int(free.sum())), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("sign", [1, -1])
def test_out_of_reach_it_goes_to_the_farthest_corner(norm: Norm, sign: int) -> None:
    x, w = images(5).flatten(1), directions(5).flatten(1)
    change = reach(x, w, sign * 1.5 * farthest(x, sign * w), norm)
    assert torch.allclose(x + change, (sign * w > 0).float(), atol=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_without_a_slope_nothing_moves(norm: Norm) -> None:
    x = images(2).flatten(1)
    assert not bool(reach(x, torch.zeros_like(x), torch.tensor([0.5, -0.5]), norm).any())


@pytest.mark.parametrize("norm", NORMS)
def test_only_the_direction_of_the_slope_counts(norm: Norm) -> None:
    """Squares of 1e-30 are lost in fp32; the gradients of a saturated network are as small."""
    x, w = images(4).flatten(1), directions(4).flatten(1)
    rise = 0.3 * farthest(x, w)
    assert torch.allclose(reach(x, w, rise, norm), reach(x, w * 1e-30, rise * 1e-30, norm), 1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_a_point_does_not_feel_the_others(norm: Norm) -> None:
    x, w = images(9, low=0, high=256).flatten(1), directions(9).flatten(1)
    rise = torch.linspace(0.01, 0.99, 9) * farthest(x, w)
    together = reach(x, w, rise, norm)
    for row in range(9):
        one = slice(row, row + 1)
        assert torch.equal(reach(x[one], w[one], rise[one], norm), together[one])
