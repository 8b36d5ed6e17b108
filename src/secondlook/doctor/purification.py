"""Checks of a purifier: range, size, honest flags, and how much of a picture it keeps."""

from __future__ import annotations

import torch

from secondlook.doctor.differences import derivatives, gradient
from secondlook.doctor.outcome import Outcome, Status, failed, graded, passed, skipped, warned
from secondlook.doctor.patient import PROBES, Patient
from secondlook.models.base import Purifier

_OUTSIDE, _FAR_OUTSIDE, _SLACK = 0.05, 0.25, 1e-3
_MOVES, _FAITHFUL = 1e-4, 0.05
_FINE, _POOR = 20.0, 10.0


@torch.no_grad()
def span(patient: Patient) -> Outcome:
    """What is reconstructed lies in [0, 1] before it is clamped."""
    shown = patient.some(PROBES)
    out = _purifier(patient).reconstruct(patient.images[:shown], patient.keys[:shown])
    low, high = float(out.min()), float(out.max())
    outside = float(((out < -_SLACK) | (out > 1 + _SLACK)).double().mean())
    status: Status = "fail" if outside > _FAR_OUTSIDE else "warn" if outside > _OUTSIDE else "pass"
    return graded(
        status,
        f"pixels from {low:.3g} to {high:.3g}, {outside:.1%} outside [0, 1], on {shown} pictures",
        "return pixels in [0, 1]: (out + 1) / 2 for a network of [-1, 1], out / 255 for one of "
        "8 bits; what the clamp cuts off has no gradient",
        low=low, high=high, outside=outside,
    )  # fmt: skip


@torch.no_grad()
def size(patient: Patient) -> Outcome:
    """Pictures of another shape come back at their own."""
    height, width = patient.size
    x = patient.images[:2, :, :, : max(1, width - width // 4)]
    out = _purifier(patient).purify(x, patient.keys[:2])
    measured = f"{x.shape[-2]}x{x.shape[-1]} came back as {'x'.join(map(str, out.shape[2:]))}"
    if out.shape != x.shape:
        return failed(
            measured, "leave purify() to the base class, which resizes; write reconstruct()"
        )
    return passed(measured)


@torch.no_grad()
def randomness(patient: Patient) -> Outcome:
    """``stochastic`` says whether two draws differ."""
    model, shown = _purifier(patient), patient.some(4, passes=2)
    x, keys = patient.images[:shown], patient.keys[:shown]
    first, second = (model.purify(x, keys.fold("draw", draw)) for draw in (0, 1))
    moved = float((first - second).abs().max())
    measured = f"two draws are up to {moved:.2g} apart, and stochastic = {model.stochastic}"
    if (moved > _MOVES) == model.stochastic:
        return passed(measured, moved=moved)
    if model.stochastic:
        mend = "set stochastic = False, else votes over equal draws are taken for many"
    else:
        mend = "set stochastic = True, else an attacker takes one look where he needs several"
    return failed(measured, mend, moved=moved)


def usefulness(patient: Patient) -> Outcome:
    """A purifier that has an honest gradient does not hide it."""
    if _purifier(patient).differentiable:
        return skipped("it says True; the two checks of the gradient tell")
    found = gradient(patient, patient.images[:2])
    if found is None or not bool(found.isfinite().all()) or not bool(found.any()):
        return passed("differentiable = False, and no gradient comes through")
    compared = derivatives(patient)
    if compared is None or compared.error > _FAITHFUL:
        return passed("differentiable = False, and the gradient is not the derivative")
    return warned(
        f"differentiable = False, but the gradient is {compared.error:.2g} off the derivative",
        "set differentiable = True; attackers are kept from a gradient that is of use",
        error=compared.error,
    )


@torch.no_grad()
def fidelity(patient: Patient) -> Outcome:
    """How much of a clean picture is left."""
    shown = patient.some(PROBES)
    x = patient.images[:shown]
    out = patient.answer(x, patient.keys[:shown]).double()
    errors = (out - x.double()).square().flatten(1).mean(1).clamp_min(1e-10)
    decibels = float((-10 * errors.log10()).mean())
    status: Status = "fail" if decibels < _POOR else "warn" if decibels < _FINE else "pass"
    return graded(
        status,
        f"PSNR {decibels:.1f} dB over {len(out)} pictures",
        "look at the range, the order of the colours and the size it was trained at, or lower its "
        "noise; little of the picture is left to look at",
        psnr=decibels,
    )  # fmt: skip


def _purifier(patient: Patient) -> Purifier:
    assert isinstance(patient.model, Purifier)
    return patient.model
