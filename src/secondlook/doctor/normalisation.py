"""Checks of what the pixels become inside: is anything seen, and is it normalised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from scipy.stats import binomtest
from torch import Tensor

from secondlook.doctor.accuracy import hits
from secondlook.doctor.outcome import Outcome, failed, passed, skipped, warned
from secondlook.doctor.patient import PROBES, Patient, distances
from secondlook.models.base import Model
from secondlook.models.photographs import DEVIATION, MEAN

_CONSTANT, _TIMES, _CHANCE = 1e-3, 5.0, 0.01
_DECIDE, _SECONDS = 8, 20.0
_INSIDE = "subtract the mean and divide by the standard deviation inside the model, after see()"


@torch.no_grad()
def varied(patient: Patient) -> Outcome:
    """Different pictures have different answers."""
    shown = patient.images[: patient.some(PROBES)]
    spread = float(distances(patient.features(shown)).mean())
    measured = f"pictures lie {spread:.2g} of an answer's length apart (mean of all pairs)"
    if spread > _CONSTANT:
        return passed(measured, spread=spread)
    return failed(
        f"{measured}: nearly the same answer to all",
        "look for pixels divided by 255 twice, weights that were not loaded, or a missing "
        "normalisation",
        spread=spread,
    )


@torch.no_grad()
def brightness(patient: Patient) -> Outcome:
    """Black, grey and white are three things."""
    levels = torch.tensor([0, 0.5, 1]).view(3, 1, 1, 1).to(patient.images)
    answers = patient.features(levels.expand(3, *patient.images.shape[1:]))
    spread = float(distances(answers).max())
    measured = f"black, grey and white lie up to {spread:.2g} of an answer's length apart"
    if spread > _CONSTANT:
        return passed(measured, spread=spread)
    return warned(
        measured,
        "normalise by constants, not by each picture's own mean and spread, unless that is meant",
        spread=spread,
    )


@torch.no_grad()
def inside(patient: Patient) -> Outcome:
    """The model does not do better, nor see much more, if pixels are normalised before it."""
    try:
        with unchecked(patient.model):
            return _compared(patient)
    # Who checks the range in a way of his own leaves nothing to compare.
    except Exception as error:
        return skipped(f"normalised pixels cannot be tried: {error}")


def _compared(patient: Patient) -> Outcome:
    """By labelled images, where there are as many as can decide it."""
    shown = patient.some(len(patient.task.rows), 2, _SECONDS) if patient.task else 0
    return _labelled(patient, shown) if shown >= _DECIDE else _unlabelled(patient)


def _labelled(patient: Patient, shown: int) -> Outcome:
    plain, shifted = hits(patient, shown=shown), hits(patient, normalised, shown)
    won, lost = int((shifted & ~plain).sum()), int((plain & ~shifted).sum())
    measured = (
        f"{_percent(plain)} right, {_percent(shifted)} with pixels normalised before, "
        f"n = {len(plain)}"
    )
    figures = {"plain": float(plain.double().mean()), "shifted": float(shifted.double().mean())}
    if won > lost and binomtest(won, won + lost).pvalue < _CHANCE:
        return failed(f"{measured}: normalisation is missing", _INSIDE, **figures)
    return passed(measured, **figures)


def _unlabelled(patient: Patient) -> Outcome:
    shown = patient.images[: patient.some(PROBES, passes=2)]
    plain, shifted = (
        float(distances(patient.features(x)).mean()) for x in (shown, normalised(shown))
    )
    times = shifted / max(plain, 1e-12)
    measured = f"normalised before, pictures lie {times:.2g} times as far apart"
    if times > _TIMES:
        return warned(
            f"{measured}: the network may expect it", f"{_INSIDE}; with --data it is certain",
            times=times,
        )  # fmt: skip
    return passed(measured, times=times)


def normalised(x: Tensor) -> Tensor:
    """Pixels ``[B, 3, H, W]`` less CLIP's mean, over its standard deviation."""
    mean, std = (x.new_tensor(values).view(3, 1, 1) for values in (MEAN, DEVIATION))
    return (x - mean) / std


@contextmanager
def unchecked(model: Model) -> Iterator[None]:
    """Lets any pixels into the model inside the block."""
    held = vars(model)
    held["see"] = lambda x: x
    try:
        yield
    finally:
        del held["see"]


def _percent(right: Tensor) -> str:
    return f"{float(right.double().mean()):.0%}"
