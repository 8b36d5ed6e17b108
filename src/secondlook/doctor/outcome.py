"""What one check says: a verdict, what was measured, and the mend where something is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Status = Literal["pass", "warn", "fail", "skip"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The answer of one check.

    Attributes:
        status: ``fail`` makes figures wrong; ``warn`` may be meant so; ``skip`` could not be asked.
        measured: what was seen, in a line.
        mend: what to do; empty where nothing is wrong.
        figures: the numbers behind ``measured``, by name.
    """

    status: Status
    measured: str
    mend: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)


def passed(measured: str, **figures: float) -> Outcome:
    """Nothing is wrong."""
    return Outcome(status="pass", measured=measured, figures=figures)


def warned(measured: str, mend: str, **figures: float) -> Outcome:
    """Something may be wrong, or is dear."""
    return Outcome(status="warn", measured=measured, mend=mend, figures=figures)


def failed(measured: str, mend: str, **figures: float) -> Outcome:
    """Something is wrong, and figures of an audit would be too."""
    return Outcome(status="fail", measured=measured, mend=mend, figures=figures)


def skipped(reason: str) -> Outcome:
    """The check does not fit the model, or lacks what it needs."""
    return Outcome(status="skip", measured=reason)


def graded(status: Status, measured: str, mend: str, **figures: float) -> Outcome:
    """An outcome whose status was measured; a pass needs no mend."""
    mend = "" if status == "pass" else mend
    return Outcome(status=status, measured=measured, mend=mend, figures=figures)
