"""The check of the clean accuracy, on a handful of labelled images."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from secondlook.doctor.outcome import Outcome, graded, skipped, warned
from secondlook.doctor.patient import PROBES, Patient
from secondlook.errors import InvalidInput
from secondlook.statistics import wilson

_NO_DATA = "no labelled images; name some: --data folder:PHOTOS"


def same(x: Tensor) -> Tensor:
    """The pictures as they are."""
    return x


@torch.no_grad()
def hits(
    patient: Patient, view: Callable[[Tensor], Tensor] = same, shown: int | None = None
) -> Tensor:
    """Which of the labelled images the model gets right as ``view`` shows them, ``[N]`` bool.

    Args:
        patient: the model with its images.
        view: what becomes of the pixels.
        shown: the first so many; None takes all.

    Raises:
        InvalidInput: the model does not know the classes of the data.
    """
    task = patient.task
    assert task is not None, "there are no labelled images"
    judge, found = task.classifier(patient.model), []
    rows = task.rows[:shown]
    for start in range(0, len(rows), PROBES):
        batch = task.batch(rows[start : start + PROBES], judge)
        scores = judge(view(batch.images))
        found.append(scores.argmax(-1).cpu() == batch.truth.cpu())
    return torch.cat(found)


def accuracy(patient: Patient) -> Outcome:
    """The share that is right, against chance; for an embedder zero-shot."""
    if patient.task is None:
        return skipped("a purifier names nothing" if patient.kind == "purifier" else _NO_DATA)
    try:
        right, classes = hits(patient), len(patient.task.classifier(patient.model).classes)
    except InvalidInput as error:
        return warned(str(error), "name data whose classes are called as the model's are")
    share, chance = wilson(int(right.sum()), len(right)), 1 / classes
    status = "fail" if share.value <= chance else "warn" if share.low <= chance else "pass"
    return graded(
        status,  # type: ignore[arg-type]
        f"{share.value:.0%} [{share.low:.0%}, {share.high:.0%}] of {len(right)} images of "
        f"{patient.data}; chance is {chance:.2g}",
        "look at the order of the classes, at the prompt, at the order of the colours (RGB), and "
        "at the normalisation; a few more images with --samples 200 narrow the interval",
        accuracy=share.value, low=share.low, high=share.high, chance=chance,
    )  # fmt: skip
