"""Checks of the gradient: it reaches the pixels, and it is the derivative."""

from __future__ import annotations

from secondlook.doctor.differences import Derivatives, derivatives, gradient
from secondlook.doctor.outcome import Outcome, Status, failed, graded, passed, skipped, warned
from secondlook.doctor.patient import Patient
from secondlook.models.base import Purifier

_GOOD, _BAD = 0.05, 0.25
_MANY_ZEROS = 0.5
_FLOW = (
    "leave no_grad(), detach(), .item(), NumPy and Pillow out of the way from pixels to answer, "
    "and pass steps without a derivative straight through"
)


def alive(patient: Patient) -> Outcome:
    """The gradient is there, in numbers, and not zero."""
    if _blocked(patient):
        return skipped("the purifier says that its gradient is of no use")
    found = gradient(patient, patient.images[: patient.some(4, passes=3)])
    if found is None:
        return failed("the answer does not hang on the pixels", _FLOW)
    bad = float((~found.isfinite()).double().mean())
    zero = float((found == 0).double().mean())
    dead = float((found == 0).flatten(1).all(1).double().mean())
    measured = f"{zero:.1%} of its entries are zero, {bad:.1%} NaN or infinite"
    figures = {"zero": zero, "bad": bad, "dead": dead}
    if bad:
        mend = "look for sqrt, norm or log at 0, and for half precision; add an epsilon inside"
        return failed(measured, mend, **figures)
    if dead:
        return failed(f"{measured}; all are on {dead:.0%} of the images", _FLOW, **figures)
    if zero > _MANY_ZEROS:
        mend = "check that no clamp, rounding or crop hides these pixels, unless it is meant"
        return warned(measured, mend, **figures)
    return passed(measured, **figures)


def derivative(patient: Patient) -> Outcome:
    """Autograd says what finite differences measure, along random directions of signs."""
    if _blocked(patient):
        return skipped("the purifier says that its gradient is of no use")
    found = derivatives(patient)
    if found is None:
        return skipped("there is no gradient, or the answer hardly moves")
    error, along = found.error, len(found.claimed)
    # What the differences themselves are unsure of is no fault of the gradient.
    allowed = max(_GOOD, min(_BAD, 2 * found.unsettled))
    status: Status = "pass" if error <= allowed else "warn" if error <= _BAD else "fail"
    return graded(
        status,
        f"{error:.2g} off finite differences, which settle to {found.unsettled:.1g}, along "
        f"{along} direction{'s' * (along > 1)} at a step of {found.step:g}, "
        f"in fp{64 if found.double else 32}",
        "look for rounding, JPEG, argmax, detach() on a part of the way, or a gradient written by "
        "hand; what attackers climb is not what the model does" + _unsteady(found),
        error=error, step=found.step, unsettled=found.unsettled,
    )  # fmt: skip


def _blocked(patient: Patient) -> bool:
    return isinstance(patient.model, Purifier) and not patient.model.differentiable


def _unsteady(found: Derivatives) -> str:
    if found.unsettled < _BAD:
        return ""
    return f"; the differences themselves do not settle ({found.unsettled:.0%} apart)"
