"""Accuracy under rejection: three outcomes, coverage, and two controls that have learnt nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secondlook import statistics
from secondlook.audit.figures import share
from secondlook.audit.schema import Metric, RiskCurve
from secondlook.audit.store import Record

_POINTS = 64


def figures(rows: Sequence[Record]) -> dict[str, Metric]:
    """The shares of the outcomes, what follows from them, and the area under risk and coverage.

    ``accuracy`` is correct *and* accepted. ``correct_or_rejected`` is what the Multi-Shield paper
    calls robust accuracy (arXiv 2412.10353, section 4); whoever rejects everything has all of it.
    """
    correct = [row["original_top1"] for row in rows]
    rejected = [row["rejected"] for row in rows]
    area = statistics.aurc(_suspicion(rows), _errors(rows))
    return _outcomes(correct, rejected) | {"aurc": Metric(**area._asdict())}


def controls(rows: Sequence[Record]) -> dict[str, dict[str, Metric]]:
    """The same records, had nothing or had everything been rejected."""
    nothing, everything = [0.0] * len(rows), [1.0] * len(rows)
    return {
        "always_accept": _outcomes([row["right"] for row in rows], nothing),
        "always_reject": _outcomes(nothing, everything),
    }


def risk_curve(rows: Sequence[Record]) -> RiskCurve:
    """Risk against coverage, at no more than 64 coverages."""
    risks = statistics.risk_coverage(_suspicion(rows), _errors(rows))
    places = np.unique(np.linspace(1, len(rows), min(_POINTS, len(rows))).round().astype(int))
    return RiskCurve(
        coverage=[round(float(place / len(rows)), 6) for place in places],
        risk=[round(float(risks[place - 1]), 6) for place in places],
    )


def _outcomes(correct: Sequence[float], rejected: Sequence[float]) -> dict[str, Metric]:
    wrong = [missed(right, none) for right, none in zip(correct, rejected, strict=True)]
    accepted = [1 - none for none in rejected]
    found = {
        "accuracy": share(correct), "correct": share(correct), "wrong": share(wrong),
        "rejected": share(rejected), "coverage": share(accepted),
        "correct_or_rejected": share([1 - each for each in wrong]),
    }  # fmt: skip
    if sum(accepted) > 0:
        found["selective_accuracy"] = share(correct, sum(accepted))
    return found


def missed(correct: float, rejected: float) -> float:
    """What is left of a sample's draws: accepted and wrong; without the dust of single precision.

    Example:
        >>> missed(correct=0.5, rejected=0.25)
        0.25
    """
    return round(1 - correct - rejected, 6)


def _suspicion(rows: Sequence[Record]) -> list[float]:
    """Of the first decision; what JSON could not hold is rejected first."""
    unknown = float("inf")
    return [unknown if row["suspicion"] is None else row["suspicion"] for row in rows]


def _errors(rows: Sequence[Record]) -> list[float]:
    """Whether the first answer would be wrong, were it accepted."""
    return [float(row["answer"] != row["truth"]) for row in rows]
