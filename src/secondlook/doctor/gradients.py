"""Checks of the gradient: it reaches the pixels, and it equals finite differences."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from secondlook.doctor.model import ModelUnderTest, Outcome, Status, failed, graded, passed, skipped, warned
from secondlook.models.base import Model, Purifier
from secondlook.models.io.cards import Program
from secondlook.models.purifiers.soft import SoftPurifier

_DITHER = 1 / 255
"""What pixels of one value are moved apart by: where they are equal a median, or a maximum, has no derivative."""
_FLAT = 1e-6
"""A change of the answer that is below this is rounding and no change."""
_LARGEST = 2e8
"""Parameters above which no second copy is made in double precision."""


class Extent(NamedTuple):
    """How much is measured: two forwards for each image, direction and step.

    Attributes:
        images: how many.
        directions: for each of them.
        steps: so many of the finest ones.
    """

    images: int
    directions: int
    steps: int

    @property
    def passes(self) -> int:
        """Forwards of one image."""
        return 2 * self.images * self.directions * self.steps


_STEPS: Final = (1e-2, 1e-3, 1e-4, 3e-5, 1e-5, 3e-6)
_FINER: Final = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 3e-7)
"""Those of double precision: a network of ReLUs has so many kinks that wider steps cross some."""
_EXTENTS: Final = (Extent(2, 4, 6), Extent(1, 4, 6), Extent(1, 4, 4), Extent(1, 2, 4), Extent(1, 1, 4))
_SECONDS = 20.0
_DOUBLE = 6.0
"""Times that a network is slower in double precision on a CPU; measured, 4 to 8."""


class Derivatives(NamedTuple):
    """One directional derivative for each image and direction, ``[B * D]``, in two ways.

    Attributes:
        measured: by central differences, at the step where they settle best.
        by_autograd: by autograd.
        step: that step, in pixel units.
        unsettled: how far the differences of two neighboring steps are apart, as a share.
        double: whether it was done in double precision.
    """

    measured: Tensor
    by_autograd: Tensor
    step: float
    unsettled: float
    double: bool

    @property
    def error(self) -> float:
        """The distance of the two, as a share of the longer."""
        scale = max(float(self.measured.norm()), float(self.by_autograd.norm()), 1e-30)
        return float((self.measured - self.by_autograd).norm()) / scale


def gradient(subject: ModelUnderTest, x: Tensor) -> Tensor | None:
    """Of a fixed, keyed weighting of each answer, ``[B, 3, H, W]``; None where there is none."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        loss = _loss(subject, x).sum()
        if not loss.requires_grad:
            return None
        return torch.autograd.grad(loss, x, allow_unused=True)[0]


def derivatives(subject: ModelUnderTest) -> Derivatives | None:
    """Both kinds; None where autograd has nothing to say, or the answer does not move.

    A preprocessing that rounds to 8 bits, with its gradient straight through, is measured without.
    """
    subject = replace(subject, model=_unrounded(subject.model))
    slow = _DOUBLE * subject.seconds_per_image * _EXTENTS[-1].passes > _SECONDS
    for double in (False,) if slow else (True, False):
        try:
            return _derivatives(_doubled(subject) if double else subject, double)
        # Whatever cannot be copied, or computes in single precision alone, is measured as it is.
        except Exception:
            if not double:
                raise
    return None


def _derivatives(subject: ModelUnderTest, double: bool) -> Derivatives | None:
    images, directions, several = extent(subject.seconds_per_image * (_DOUBLE if double else 1))
    steps = (_FINER if double else _STEPS)[-several:]
    margin = 2 * max(_STEPS)
    x = subject.images[:images]
    apart = subject.keys[:images].fold("dither").uniform(x.shape[1:], like=x)
    x = margin + (1 - 2 * margin) * ((1 - _DITHER) * x + _DITHER * apart)
    found = gradient(subject, x)
    if found is None:
        return None
    draws = subject.keys[:images].fold("direction").normal((directions, *x.shape[1:]), like=x)
    ways = draws.sign().unbind(1)
    by_autograd = torch.cat([(found * way).flatten(1).sum(1) for way in ways]).double()
    measured = [_differences(subject, x, ways, step) for step in steps]
    scale = float(torch.stack(measured).norm(dim=1).max())
    if scale * max(steps) < _FLAT:
        return None
    gaps = [float((a - b).norm()) / scale for a, b in zip(measured, measured[1:], strict=False)]
    best = min(range(len(gaps)), key=gaps.__getitem__)
    return Derivatives(measured[best + 1], by_autograd, steps[best + 1], gaps[best], double)


def extent(seconds_per_image: float) -> Extent:
    """The largest extent that a few seconds suffice for."""
    fits = (each for each in _EXTENTS if each.passes * seconds_per_image <= _SECONDS)
    return next(fits, _EXTENTS[-1])


@torch.no_grad()
def _differences(subject: ModelUnderTest, x: Tensor, ways: tuple[Tensor, ...], step: float) -> Tensor:
    rises = [_loss(subject, x + step * way) - _loss(subject, x - step * way) for way in ways]
    return torch.cat(rises) / (2 * step)


def _loss(subject: ModelUnderTest, x: Tensor) -> Tensor:
    out = subject.output(x).double()
    weights = subject.keys[: len(x)].fold("weights").normal(out.shape[1:], like=out)
    return (out * weights).flatten(1).sum(1)


def _unrounded(model: Model) -> Model:
    for name in ("preprocessing", "patches"):
        own: Any = getattr(model, name, None)
        if is_dataclass(own) and hasattr(own, "rounding"):
            model = copy.copy(model)
            setattr(model, name, replace(own, rounding=False))  # type: ignore[type-var]
    return model


def _doubled(subject: ModelUnderTest) -> ModelUnderTest:
    """The model with a copy of its networks in double precision."""
    networks = list(_networks(subject.model))
    count = sum(p.numel() for module in networks for p in module.parameters())
    if count > _LARGEST:
        raise MemoryError(f"{count} parameters are too many for a second copy")
    with warnings.catch_warnings():
        # torch copies the tree of an exported program's arguments by a way that it deprecates.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        twin = copy.deepcopy(subject.model)
    for module in _networks(twin):
        module.double()
    return replace(subject, model=twin, images=subject.images.double())


def _networks(model: Model) -> Iterator[nn.Module]:
    """Those that a model lists, and those of exported programs, which it does not."""
    yield from model.modules
    for value in vars(model).values():
        if isinstance(value, Program) and isinstance(value.run, nn.Module):
            yield value.run


_GOOD, _BAD = 0.05, 0.25
_MANY_ZEROS = 0.5
_FLOW = (
    "leave no_grad(), detach(), .item(), NumPy and Pillow out of the way from pixels to answer, "
    "and pass steps without a derivative straight through"
)


def reaches_pixels(subject: ModelUnderTest) -> Outcome:
    """The gradient is there, in numbers, and not zero."""
    if _blocked(subject):
        return skipped("the purifier says that its gradient is of no use")
    found = gradient(subject, subject.images[: subject.affordable(4, passes=3)])
    if found is None:
        return failed("the answer does not hang on the pixels", _FLOW)
    bad = float((~found.isfinite()).double().mean())
    zero = float((found == 0).double().mean())
    dead = float((found == 0).flatten(1).all(1).double().mean())
    measured = f"{zero:.1%} of its entries are zero, {bad:.1%} NaN or infinite"
    figures = {"zero": zero, "bad": bad, "dead": dead}
    if bad:
        fix = "look for sqrt, norm or log at 0, and for half precision; add an epsilon inside"
        return failed(measured, fix, **figures)
    if dead:
        return failed(f"{measured}; all are on {dead:.0%} of the images", _FLOW, **figures)
    if zero > _MANY_ZEROS:
        fix = "check that no clamp, rounding or crop hides these pixels, unless that is intended"
        return warned(measured, fix, **figures)
    return passed(measured, **figures)


def matches_differences(subject: ModelUnderTest) -> Outcome:
    """Autograd and finite differences agree, along random directions of signs."""
    if _blocked(subject):
        return skipped("the purifier says that its gradient is of no use")
    if isinstance(subject.model, SoftPurifier):
        return skipped("the purifier rounds, and its gradient is that of a smooth function in its place")
    found = derivatives(subject)
    if found is None:
        return skipped("there is no gradient, or the answer hardly moves")
    error, along = found.error, len(found.by_autograd)
    # What the differences themselves are unsure of is no fault of the gradient.
    allowed = max(_GOOD, min(_BAD, 2 * found.unsettled))
    status: Status = "pass" if error <= allowed else "warn" if error <= _BAD else "fail"
    return graded(
        status,
        f"{error:.2g} off finite differences, which settle to {found.unsettled:.1g}, along "
        f"{along} direction{'s' * (along > 1)} at a step of {found.step:g}, "
        f"in fp{64 if found.double else 32}",
        "look for rounding, JPEG, argmax, detach() on a part of the way, or a gradient written by "
        "hand; what attackers backward is not what the model does" + _unsteady(found),
        error=error,
        step=found.step,
        unsettled=found.unsettled,
    )


def _blocked(subject: ModelUnderTest) -> bool:
    return isinstance(subject.model, Purifier) and not subject.model.differentiable


def _unsteady(found: Derivatives) -> str:
    if found.unsettled < _BAD:
        return ""
    return f"; the differences themselves do not settle ({found.unsettled:.0%} apart)"
