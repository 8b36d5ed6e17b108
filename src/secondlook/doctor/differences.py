"""The gradient by autograd, and the same by finite differences."""

from __future__ import annotations

import copy
from dataclasses import is_dataclass, replace
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from secondlook.doctor.patient import Patient
from secondlook.models.base import Model

_STEPS: Final = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5)
_DIRECTIONS, _SAMPLES = 4, 2
_FLAT = 1e-6
"""A change of the answer that is below this is rounding and no change."""
_LARGEST = 2e8
"""Parameters above which no second copy is made in double precision."""


class Derivatives(NamedTuple):
    """One directional derivative for each image and direction, ``[B * 4]``, in two ways.

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
    for double in (True, False):
        try:
            subject = _doubled(patient) if double else patient
            return _derivatives(subject, double)
        # Whatever cannot be copied, or computes in single precision alone, is asked as it is.
        except Exception:
            if not double:
                raise
    return None


def _derivatives(patient: Patient, double: bool) -> Derivatives | None:
    margin = 2 * max(_STEPS)
    x = margin + (1 - 2 * margin) * patient.images[:_SAMPLES]
    found = gradient(patient, x)
    if found is None:
        return None
    draws = patient.keys[:_SAMPLES].fold("direction").normal((_DIRECTIONS, *x.shape[1:]), like=x)
    ways = draws.sign().unbind(1)
    claimed = torch.cat([(found * way).flatten(1).sum(1) for way in ways]).double()
    measured = [_differences(patient, x, ways, step) for step in _STEPS]
    scale = float(torch.stack(measured).norm(dim=1).max())
    if scale * max(_STEPS) < _FLAT:
        return None
    gaps = [float((a - b).norm()) / scale for a, b in zip(measured, measured[1:], strict=False)]
    best = min(range(len(gaps)), key=gaps.__getitem__)
    return Derivatives(measured[best + 1], claimed, _STEPS[best + 1], gaps[best], double)


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
    count = sum(p.numel() for module in patient.modules for p in module.parameters())
    if count > _LARGEST:
        raise MemoryError(f"{count} parameters are too many for a second copy")
    twin = copy.deepcopy(patient.model)
    for module in twin.modules:
        module.double()
    return replace(patient, model=twin, images=patient.images.double())
