"""Rounding with a smooth gradient, and gradients that go straight through."""

import torch
from torch import Tensor

from secondlook.models.purifiers.soft import SoftPurifier, rounded, soft_rounded, straight_through
from secondlook.randomness import Keys

X = Keys.of(0, range(2)).normal((3, 4, 4)) * 3


class Square(SoftPurifier):
    """Decides by the sign, and is differentiated as a square."""

    name, stochastic = "square", False

    def __init__(self) -> None:
        self.asked = 0

    def hard(self, x: Tensor, keys: Keys) -> Tensor:
        assert not x.requires_grad
        return (x > 0.5).to(x)

    def soft(self, x: Tensor, keys: Keys) -> Tensor:
        self.asked += 1
        return x.square()


def slope(function: torch.nn.Module | object, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    (found,) = torch.autograd.grad(function(x).sum(), x)  # type: ignore[operator]
    return found


def test_straight_through_has_the_value_of_one_to_the_bit_and_the_gradient_of_the_other() -> None:
    weight = torch.rand(X.shape, generator=torch.Generator().manual_seed(4))
    x = X.clone().requires_grad_()
    out = straight_through(x, X / 3)
    assert torch.equal(out, X / 3)
    (gradient,) = torch.autograd.grad((weight * out).sum(), x)
    assert torch.equal(gradient, weight)


def test_a_second_derivative_passes_as_well() -> None:
    x = X.clone().requires_grad_()
    (first,) = torch.autograd.grad(straight_through(x**3, X).square().sum() / 2, x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    # d(value) / dx is that of the cube: value * 3x^2, and then 3x^2 * 3x^2 + value * 6x.
    assert torch.allclose(second, 9 * X**4 + 6 * X.square(), rtol=1e-4)


def test_rounding_is_whole_and_passes_the_gradient_on() -> None:
    assert torch.equal(rounded(X), X.round())
    assert torch.equal(slope(rounded, X), torch.ones_like(X))


def test_smooth_rounding_is_whole_and_steepest_half_way() -> None:
    assert torch.equal(soft_rounded(X), X.round())
    found = slope(soft_rounded, torch.tensor([0.0, 1.0, 0.25, 0.499, -0.499]))
    assert torch.allclose(found, torch.tensor([0.2, 0.2, 0.3875, 0.947, 0.947]), atol=1e-3)


def test_a_purifier_decides_by_one_function_and_is_differentiated_as_another() -> None:
    x, keys, purifier = X.sigmoid(), Keys.of(0, range(2)), Square()
    assert torch.equal(purifier.purify(x, keys), (x > 0.5).float())
    with torch.no_grad():
        purifier.purify(x.clone().requires_grad_(), keys)
    assert purifier.asked == 0
    assert torch.allclose(slope(lambda x: purifier.purify(x, keys), x), 2 * x)
    assert purifier.asked == 1
