"""The ball: what is projected and rounded lies in it, and what does not is caught."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, strategies as st
from torch import Tensor

from secondlook.errors import BrokenThreat, InvalidInput
from secondlook.randomness import Keys
from secondlook.threat import LEVELS, Norm, Threat, fraction

SHAPE = (3, 3, 3)


@st.composite
def threats(draw: st.DrawFn) -> Threat:
    norm: Norm = draw(st.sampled_from(["linf", "l2", "l1"]))
    levels = draw(st.sampled_from([0.3, 0.5, 1, 2.7, 8, 64, 255]) | st.floats(0.1, 255))
    return Threat(norm=norm, eps=levels / LEVELS * {"linf": 1, "l2": 3, "l1": 12}[norm])


@st.composite
def pairs(draw: st.DrawFn, on_grid: bool = False) -> tuple[Tensor, Tensor]:
    """A clean batch, often black or white in places, and points from near to far away from it."""
    keys = Keys.of(draw(st.integers(0, 2**32)), range(3))
    clean = (keys.fold("clean").uniform(SHAPE) * 1.4 - 0.2).clamp(0, 1)
    if on_grid:
        clean = (clean * LEVELS).round() / LEVELS
    away = draw(st.sampled_from([0.0, 1e-4, 0.01, 0.1, 3.0]))
    return clean, clean + away * keys.fold("away").normal(SHAPE)


@given(threats(), pairs())
def test_projection_is_legal_and_final(threat: Threat, pair: tuple[Tensor, Tensor]) -> None:
    clean, x = pair
    projected = threat.project(x, clean)
    threat.check(projected, clean)
    assert torch.allclose(threat.project(projected, clean), projected, atol=1e-6)


@given(threats(), pairs())
def test_projection_leaves_legal_points_alone(threat: Threat, pair: tuple[Tensor, Tensor]) -> None:
    clean, x = pair
    legal = x.clamp(0, 1)
    inside = threat.size(legal - clean) <= threat.eps
    assert torch.allclose(threat.project(legal, clean)[inside], legal[inside], atol=1e-6)


def test_projection_goes_to_the_nearest_point() -> None:
    clean = torch.full((1, 3, 1, 1), 0.5)
    x = clean + torch.tensor([0.3, -0.4, 0.0]).view(1, 3, 1, 1)
    linf = Threat(eps=0.1).project(x, clean) - clean
    l2 = Threat(norm="l2", eps=0.25).project(x, clean) - clean
    assert torch.allclose(linf.flatten(), torch.tensor([0.1, -0.1, 0.0]))
    assert torch.allclose(l2.flatten(), torch.tensor([0.15, -0.2, 0.0]))


@given(pairs(), st.floats(0.01, 20))
def test_the_l1_projection_is_the_nearest_point(pair: tuple[Tensor, Tensor], eps: float) -> None:
    """Its conditions of optimality: all that end between zero and their wall gave the same length.

    Whoever ends at the wall of the pixel range had more than that to give, whoever at zero less.
    """
    clean, x = pair
    wanted, found = x - clean, Threat(norm="l1", eps=eps).project(x, clean) - clean
    assert bool((found * wanted >= 0).all())
    for want, got, at in zip(wanted, found, clean, strict=True):
        wall = torch.where(want > 0, 1 - at, at) - got.abs() < 1e-6
        zero, gave = got.abs() < 1e-6, (want - got).abs()
        between = gave[~wall & ~zero]
        if not len(between):
            continue
        each = float(between.mean())
        assert bool(((between - each).abs() < 1e-5).all())
        assert bool((gave[wall & ~zero] >= each - 1e-5).all())
        assert bool((gave[zero & ~wall] <= each + 1e-5).all())
        if each > 1e-5:
            assert float(got.abs().sum()) == pytest.approx(eps, abs=1e-4), "no shorter than it must"


def test_l1_rounding_spends_what_the_ball_allows() -> None:
    clean = torch.full((1, 3, 1, 2), 100 / LEVELS)
    x = clean + torch.tensor([2.9, -1.8, 0.6, 0.4, 0.3, 0.0]).view(1, 3, 1, 2) / LEVELS
    for eps, expected in {6.0: [3, -2, 1, 0, 0, 0], 5.0: [3, -2, 0, 0, 0, 0]}.items():
        rounded = Threat(norm="l1", eps=eps / LEVELS, grid=LEVELS).quantize(x, clean)
        assert ((rounded - clean) * LEVELS).flatten().round().tolist() == expected


def off_grid(x: Tensor) -> Tensor:
    levels = x * LEVELS
    return (levels - levels.round()).abs()


@given(threats(), pairs(on_grid=True))
def test_rounding_a_neighbor_of_8_bit_pixels(threat: Threat, pair: tuple[Tensor, Tensor]) -> None:
    clean, x = pair
    threat = replace(threat, grid=LEVELS)
    projected = threat.project(x, clean)
    rounded = threat.quantize(projected, clean)
    threat.check(rounded, clean)
    assert float(off_grid(rounded).max()) < 1e-3
    assert float((rounded - projected).abs().max()) * LEVELS < 1 + 1e-3


@given(threats(), pairs())
def test_rounding_beside_an_image_between_the_levels(threat: Threat, pair: tuple[Tensor, Tensor]) -> None:
    clean, x = pair
    assert threat.quantize(x, clean) is x, "floats, where no grid is asked for"
    threat = replace(threat, grid=LEVELS)
    rounded = threat.quantize(threat.project(x, clean), clean)
    threat.check(rounded, clean)
    if threat.norm == "linf" and threat.eps * LEVELS >= 0.5:
        assert float(off_grid(rounded).max()) < 1e-3, "each pixel's interval holds a level"


@given(threats(), pairs())
def test_where_the_ball_holds_the_nearest_grid_point_rounding_ends_on_the_grid(
    threat: Threat, pair: tuple[Tensor, Tensor]
) -> None:
    clean, x = pair
    threat = replace(threat, grid=LEVELS)
    nearest = (clean * LEVELS).round() / LEVELS
    rounded = threat.quantize(threat.project(x, clean), clean)
    held = threat.size(nearest - clean) < 0.999 * threat.eps
    if bool(held.any()):
        assert float(off_grid(rounded[held]).max()) < 1e-3
    threat.check(rounded, clean)


@pytest.mark.parametrize("grid", [0, -1])
def test_a_grid_has_levels(grid: int) -> None:
    with pytest.raises(InvalidInput, match=f"grid={grid} has no levels; write 255"):
        Threat(grid=grid)


def test_rounding_goes_to_the_nearest_level_there_is() -> None:
    clean = torch.tensor([100.0, 100.0, 254.0]).view(1, 3, 1, 1) / LEVELS
    x = torch.tensor([101.4, 102.4, 255.0]).view(1, 3, 1, 1) / LEVELS
    for eps, expected in {8.0: [101, 102, 255], 2.6: [101, 102, 255], 1.0: [101, 101, 255]}.items():
        threat = Threat(eps=eps / LEVELS, grid=LEVELS)
        levels = threat.quantize(threat.project(x, clean), clean) * LEVELS
        assert levels.flatten().round().tolist() == expected


CLEAN = torch.full((2, 3, 2, 2), 0.5)


def changed(value: float) -> Tensor:
    x = CLEAN.clone()
    x[1, 2, 0, 1] = value
    return x


@pytest.mark.parametrize(
    ("threat", "x", "says"),
    [
        (Threat(), CLEAN[:1], r"shape \(1, 3, 2, 2\)"),
        (Threat(), CLEAN[..., :1], r"shape \(2, 3, 2, 1\)"),
        (Threat(), changed(math.nan), "NaN"),
        (Threat(), changed(math.inf), "infinite"),
        (Threat(eps=1), changed(-0.01), r"not \[0, 1\]"),
        (Threat(eps=1), changed(1.01), r"not \[0, 1\]"),
        (Threat(), changed(0.5 + 9 / 255), r"linf distance 0\.035.* is above eps=0\.031"),
        (Threat(), changed(0.5 - 9 / 255), "linf distance"),
        (Threat(norm="l2", eps=0.3), changed(0.9), "l2 distance 0.4 is above eps=0.3"),
        (Threat(norm="l1", eps=0.3), changed(0.9), "l1 distance 0.4 is above eps=0.3"),
    ],
)
def test_each_breach_is_caught(threat: Threat, x: Tensor, says: str) -> None:
    with pytest.raises(BrokenThreat, match=says):
        threat.check(x, CLEAN)


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_what_is_legal_passes(norm: Norm) -> None:
    threat = Threat(norm=norm, eps=8 / 255)
    threat.check(CLEAN, CLEAN)
    threat.check(changed(0.5 + 8 / 255), CLEAN)
    threat.check(CLEAN[:0], CLEAN[:0])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"eps": 8}, r"eps=8 is outside \[0, 1\]; eps is in pixel units, write 8/255"),
        ({"eps": 0}, "eps=0 is not positive"),
        ({"eps": -1}, "eps=-1 is not positive"),
        ({"eps": math.nan}, "eps=nan"),
        ({"norm": "l0"}, "norm='l0' is unknown; write 'linf', 'l2' or 'l1'"),
    ],
)
def test_bad_threats(settings: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        Threat(**settings)  # type: ignore[arg-type]


def test_l2_may_be_longer_than_one_pixel() -> None:
    assert str(Threat(norm="l2", eps=8)) == "L2 8"
    assert str(Threat(norm="l1", eps=12)) == "L1 12"
    assert str(Threat(eps=8 / 255)) == "L∞ 8/255"
    assert str(Threat(eps=1)) == "L∞ 255/255"


def test_sizes() -> None:
    delta = torch.zeros(2, 3, 2, 2)
    delta[0, 0, 0, 0], delta[0, 2, 1, 1] = -3.0, 2.0
    delta[1] = 0.5
    assert Threat().size(delta).tolist() == [3.0, 0.5]
    assert torch.allclose(Threat(norm="l2").size(delta), torch.tensor([13**0.5, 3**0.5]))
    assert Threat(norm="l1").size(delta).tolist() == [5.0, 6.0]


def test_the_steepest_step_has_the_length_of_a_step() -> None:
    gradient = Keys.of(0, range(4)).normal(SHAPE) * 1e-6
    assert torch.equal(Threat().ascend(gradient, 0.1), 0.1 * gradient.sign())
    l2 = Threat(norm="l2")
    step = l2.ascend(gradient, 0.1)
    assert torch.allclose(l2.size(step), torch.full((4,), 0.1))
    assert torch.allclose((step * gradient).sum(), 0.1 * l2.size(gradient).sum())
    assert not l2.ascend(torch.zeros_like(gradient), 0.1).any()


@pytest.mark.parametrize(
    ("text", "value"), [("8/255", 8 / 255), ("0.03", 0.03), (" 2 / 4 ", 0.5), (0.5, 0.5), (1, 1.0), ("1e-2", 0.01)]
)
def test_fractions(text: str | float, value: float) -> None:
    assert fraction(text) == value


@pytest.mark.parametrize("text", ["eight", "8/0", "8/255/2", "", "/"])
def test_no_fractions(text: str) -> None:
    with pytest.raises(InvalidInput, match="write 8/255 or 0.0314"):
        fraction(text)
