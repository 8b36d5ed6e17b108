"""The gradient by autograd, and the same by finite differences."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from dataclasses import is_dataclass, replace
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn

from secondlook.doctor.patient import Patient
from secondlook.models.base import Model
from secondlook.models.cards import Program

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
_EXTENTS: Final = (
    Extent(2, 4, 6), Extent(1, 4, 6), Extent(1, 4, 4), Extent(1, 2, 4), Extent(1, 1, 4),
)  # fmt: skip
_SECONDS = 20.0
_DOUBLE = 6.0
"""Times that a network is slower in double precision on a CPU; measured, 4 to 8."""


class Derivatives(NamedTuple):
    """One directional derivative for each image and direction, ``[B * D]``, in two ways.

    Attributes:
        measured: by central differences, at the step where they settle best.
        claimed: by autograd.
        step: that step, in pixel units.
        unsettled: how far the differences of two neighbouring steps are apart, as a share.
        double: whether it was done in double precision.
    """

    measured: Tensor
    claimed: Tensor
    step: float
    unsettled: float
    double: bool

    @property
    def error(self) -> float:
        """The distance of the two, as a share of the longer."""
        scale = max(float(self.measured.norm()), float(self.claimed.norm()), 1e-30)
        return float((self.measured - self.claimed).norm()) / scale


def gradient(patient: Patient, x: Tensor) -> Tensor | None:
    """Of a fixed, keyed weighting of each answer, ``[B, 3, H, W]``; None where there is none."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        loss = _loss(patient, x).sum()
        if not loss.requires_grad:
            return None
        return torch.autograd.grad(loss, x, allow_unused=True)[0]


def derivatives(patient: Patient) -> Derivatives | None:
    """Both kinds; None where autograd has nothing to say, or the answer does not move.

    A preprocessing that rounds to 8 bits, with its gradient straight through, is asked without.
    """
    patient = replace(patient, model=_unrounded(patient.model))
    slow = _DOUBLE * patient.pace * _EXTENTS[-1].passes > _SECONDS
    for double in (False,) if slow else (True, False):
        try:
            subject = _doubled(patient) if double else patient
            return _derivatives(subject, double)
        # Whatever cannot be copied, or computes in single precision alone, is asked as it is.
        except Exception:
            if not double:
                raise
    return None


def _derivatives(patient: Patient, double: bool) -> Derivatives | None:
    images, directions, several = extent(patient.pace * (_DOUBLE if double else 1))
    steps = (_FINER if double else _STEPS)[-several:]
    margin = 2 * max(_STEPS)
    x = margin + (1 - 2 * margin) * patient.images[:images]
    found = gradient(patient, x)
    if found is None:
        return None
    draws = patient.keys[:images].fold("direction").normal((directions, *x.shape[1:]), like=x)
    ways = draws.sign().unbind(1)
    claimed = torch.cat([(found * way).flatten(1).sum(1) for way in ways]).double()
    measured = [_differences(patient, x, ways, step) for step in steps]
    scale = float(torch.stack(measured).norm(dim=1).max())
    if scale * max(steps) < _FLAT:
        return None
    gaps = [float((a - b).norm()) / scale for a, b in zip(measured, measured[1:], strict=False)]
    best = min(range(len(gaps)), key=gaps.__getitem__)
    return Derivatives(measured[best + 1], claimed, steps[best + 1], gaps[best], double)


def extent(pace: float) -> Extent:
    """The largest extent that a few seconds have room for, of a network that takes ``pace`` s."""
    fits = (each for each in _EXTENTS if each.passes * pace <= _SECONDS)
    return next(fits, _EXTENTS[-1])


@torch.no_grad()
def _differences(patient: Patient, x: Tensor, ways: tuple[Tensor, ...], step: float) -> Tensor:
    rises = [_loss(patient, x + step * way) - _loss(patient, x - step * way) for way in ways]
    return torch.cat(rises) / (2 * step)


def _loss(patient: Patient, x: Tensor) -> Tensor:
    out = patient.answer(x).double()
    weights = patient.keys[: len(x)].fold("weights").normal(out.shape[1:], like=out)
    return (out * weights).flatten(1).sum(1)


def _unrounded(model: Model) -> Model:
    for name in ("preprocessing", "patches"):
        own: Any = getattr(model, name, None)
        if is_dataclass(own) and hasattr(own, "rounding"):
            model = copy.copy(model)
            setattr(model, name, replace(own, rounding=False))  # type: ignore[type-var]
    return model


def _doubled(patient: Patient) -> Patient:
    """The patient with a copy of its networks in double precision."""
    networks = list(_networks(patient.model))
    count = sum(p.numel() for module in networks for p in module.parameters())
    if count > _LARGEST:
        raise MemoryError(f"{count} parameters are too many for a second copy")
    with warnings.catch_warnings():
        # torch copies the tree of an exported program's arguments by a way that it deprecates.
        warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
        twin = copy.deepcopy(patient.model)
    for module in _networks(twin):
        module.double()
    return replace(patient, model=twin, images=patient.images.double())


def _networks(model: Model) -> Iterator[nn.Module]:
    """Those that a model lists, and those of exported programs, which it does not."""
    yield from model.modules
    for value in vars(model).values():
        if isinstance(value, Program) and isinstance(value.run, nn.Module):
            yield value.run
