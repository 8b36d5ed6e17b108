"""Functions that round, made smooth: what rounding took off at one point stays a constant."""

import importlib
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

Function = Callable[[Tensor], Tensor]
MODULES = ("soft", "jpeg")


class Held:
    """Stands for ``straight_through``: the first evaluation finds the constants, others add them."""

    def __init__(self) -> None:
        self.constants: list[Tensor] = []
        self.replayed: Iterator[Tensor] | None = None

    def again(self) -> None:
        self.replayed = iter(self.constants)

    def __call__(self, x: Tensor, value: Tensor) -> Tensor:
        if self.replayed is not None:
            return x + next(self.replayed)
        self.constants.append((value - x).detach())
        return x + self.constants[-1]


def matches_differences(monkeypatch: pytest.MonkeyPatch, function: Function, x: Tensor, step: float = 1e-7) -> None:
    """Asserts that the gradient of ``function`` at ``x``, fp64, is that of central differences."""
    generator = torch.Generator().manual_seed(5)
    ways = torch.randn(4, *x.shape, generator=generator, dtype=x.dtype)
    value = function(x.requires_grad_())
    weights = torch.randn(value.shape, generator=generator, dtype=x.dtype)
    (gradient,) = torch.autograd.grad((weights * value).sum(), x)
    held = Held()
    for module in MODULES:
        name = f"secondlook.models.purifiers.{module}"
        monkeypatch.setattr(importlib.import_module(name), "straight_through", held)

    def loss(x: Tensor) -> Tensor:
        held.again()
        return (weights * function(x)).sum()

    with torch.no_grad():
        assert torch.allclose(function(x), value.detach(), atol=1e-12)
        measured = torch.stack([loss(x + step * way) - loss(x - step * way) for way in ways]) / (2 * step)
    assert torch.allclose(measured, (gradient * ways).flatten(1).sum(1), rtol=1e-5, atol=1e-6)
