"""Checks of the pixels: [0, 1] is taken, anything else refused, and each pass is counted."""

from __future__ import annotations

import torch
from torch import Tensor

from secondlook.doctor.outcome import Outcome, failed, passed
from secondlook.doctor.patient import Patient
from secondlook.ledger import counting

_SEE = "begin features(), or whatever takes the pixels, with x = self.see(x)"


@torch.no_grad()
def accepts(patient: Patient) -> Outcome:
    """All of [0, 1] has an answer in numbers: pictures, black and white."""
    shown = torch.cat([patient.images[:2], *_flat(patient, 0, 1)])
    out = patient.answer(shown, patient.keys[: len(shown)])
    lost = float((~out.isfinite()).double().mean())
    measured = f"pictures, black and white at {patient.size[0]}x{patient.size[1]}"
    if lost:
        return failed(
            f"{lost:.0%} of the answers are NaN or infinite",
            "look for a division by a spread or a norm that is 0 on a flat picture, for half "
            "precision, and for damaged weights",
            lost=lost,
        )
    return passed(measured, lost=0.0)


@torch.no_grad()
def refuses(patient: Patient) -> Outcome:
    """Pixels in 0 to 255, and normalised ones, are refused and not silently taken."""
    x = torch.cat([patient.images[:1], *_flat(patient, 0, 1)])
    wrong = {"0 to 255": x * 255, "normalised": (x - 0.5) / 0.25}
    taken = [name for name, pixels in wrong.items() if not _refused(patient, pixels)]
    if taken:
        return failed(f"took pixels {' and '.join(taken)} without a word", _SEE)
    return passed(f"refused pixels {' and '.join(wrong)}")


def counts(patient: Patient) -> Outcome:
    """One image is one forward and at most one backward in the ledger."""
    x = patient.images[:2].clone().requires_grad_()
    with counting() as ledger:
        out = patient.answer(x)
        if out.requires_grad:
            torch.autograd.grad(out.sum(), x, allow_unused=True)
    forwards, backwards = (n / len(x) for n in (ledger.forwards, ledger.backwards))
    measured = f"{forwards:g} forward(s) and {backwards:g} backward(s) an image"
    if not forwards:
        return failed(f"{measured}: the costs of an audit would be 0", _SEE)
    return passed(measured, forwards=forwards, backwards=backwards)


def _flat(patient: Patient, *levels: float) -> list[Tensor]:
    return [torch.full_like(patient.images[:1], level) for level in levels]


def _refused(patient: Patient, x: Tensor) -> bool:
    try:
        patient.answer(x, patient.keys[: len(x)])
    # A user's model may refuse with an error of its own.
    except Exception:
        return True
    return False
