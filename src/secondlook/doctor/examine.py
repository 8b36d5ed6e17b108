"""The examination: every check in turn, none of which can end the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Final, NamedTuple, get_args

import torch

from secondlook.doctor import (
    accuracy,
    cost,
    gradients,
    modes,
    normalisation,
    outputs,
    pixels,
    preparation,
    purification,
)
from secondlook.doctor.outcome import Outcome, failed, skipped
from secondlook.doctor.patient import Kind, Patient
from secondlook.doctor.schema import Examination, Finding
from secondlook.models.base import evaluating
from secondlook.progress import Tick


class Check(NamedTuple):
    """One question.

    Attributes:
        name: how a report calls it.
        ask: what answers it.
        kinds: the models that it is asked of.
        vital: whether nothing else can be asked where it fails.
    """

    name: str
    ask: Callable[[Patient], Outcome]
    kinds: tuple[Kind, ...] = get_args(Kind)
    vital: bool = False


_NAMING: Final[tuple[Kind, ...]] = ("embedder", "classifier")

CHECKS: Final = (
    Check("accepts [0, 1]", pixels.accepts, vital=True),
    Check("form of the answer", outputs.form, vital=True),
    Check("refuses other pixels", pixels.refuses),
    Check("passes are counted", pixels.counts),
    Check("eval mode", modes.networks),
    Check("repeatable", modes.repeatable),
    Check("alone as in a batch", modes.company),
    Check("parameters left alone", modes.untouched),
    Check("answers differ", normalisation.varied, _NAMING),
    Check("sees brightness", normalisation.brightness, _NAMING),
    Check("normalisation inside", normalisation.inside, _NAMING),
    Check("preprocessing", preparation.preprocessing, ("embedder",)),
    Check("gradient reaches the pixels", gradients.alive),
    Check("gradient is the derivative", gradients.derivative),
    Check("unit vectors", outputs.vectors, _NAMING),
    Check("texts", outputs.texts, ("embedder",)),
    Check("logits", outputs.logits, ("classifier",)),
    Check("range of the pixels made", purification.span, ("purifier",)),
    Check("size is kept", purification.size, ("purifier",)),
    Check("stochastic as it says", purification.randomness, ("purifier",)),
    Check("differentiable as it says", purification.usefulness, ("purifier",)),
    Check("keeps the picture", purification.fidelity, ("purifier",)),
    Check("clean accuracy", accuracy.accuracy, _NAMING),
    Check("time and memory", cost.spending),
    Check("the default audit", cost.default_audit),
)
"""All questions, in their order."""


def examine(patient: Patient, tick: Tick = lambda done, of, what: None) -> Examination:
    """Asks all that fits the patient; ``tick`` is told how far it is.

    Example:
        ``examine(admit(load("scenes:clip"))).failed``
    """
    asked = [check for check in CHECKS if patient.kind in check.kinds]
    findings: list[Finding] = []
    with evaluating(patient.modules):
        for number, check in enumerate(asked):
            tick(number, len(asked), check.name)
            lost = _lost(findings, asked)
            outcome = (
                skipped(f"without {lost!r} it cannot be asked") if lost else _ask(check, patient)
            )
            findings.append(_finding(check, outcome))
    tick(len(asked), len(asked), "done")
    height, width = patient.size
    return Examination(
        model=patient.model.name, kind=patient.kind, hash=patient.model.hash,
        resolution=[height, width], data=patient.data, findings=findings,
        versions={"secondlook": version("secondlook"), "torch": torch.__version__},
        threads=torch.get_num_threads(),
    )  # fmt: skip


def _ask(check: Check, patient: Patient) -> Outcome:
    """The answer; what the model raises is a failure of the model, and ends nothing."""
    try:
        return check.ask(patient)
    # A user's model may raise anything.
    except Exception as error:
        text = str(error).strip() or "no message"
        return failed(
            f"the model raised {type(error).__name__}: {text}",
            "mend what raised it; an audit asks the same",
        )


def _lost(findings: list[Finding], asked: list[Check]) -> str:
    """The vital check that has failed, if one has."""
    vital = {check.name for check in asked if check.vital}
    return next((f.check for f in findings if f.status == "fail" and f.check in vital), "")


def _finding(check: Check, outcome: Outcome) -> Finding:
    return Finding(
        check=check.name, status=outcome.status, measured=outcome.measured, mend=outcome.mend,
        figures=_finite(outcome.figures),
    )  # fmt: skip


def _finite(figures: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in figures.items()}
