"""Figures of outcomes: accuracy under rejection with its controls, and attack success by name."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from secondlook import statistics
from secondlook.metrics.figures import share
from secondlook.schema import Member, Metric, RiskCurve, SampleRecord

_POINTS = 64


def rejection(rows: Sequence[SampleRecord]) -> dict[str, Metric]:
    """The shares of the outcomes, what follows from them, and the area under risk and coverage.

    ``accuracy`` is correct *and* accepted. ``correct_or_rejected`` is what the Multi-Shield paper
    calls robust accuracy (arXiv 2412.10353, section 4); whoever rejects everything has all of it.
    """
    correct = [row["original_top1"] for row in rows]
    rejected = [row["rejected"] for row in rows]
    area = statistics.aurc(_suspicion(rows), _errors(rows))
    return _outcomes(correct, rejected) | {"aurc": Metric(**area._asdict())}


def controls(rows: Sequence[SampleRecord]) -> dict[str, dict[str, Metric]]:
    """The same records, had nothing or had everything been rejected."""
    nothing, everything = [0.0] * len(rows), [1.0] * len(rows)
    return {
        "always_accept": _outcomes([row["right"] for row in rows], nothing),
        "always_reject": _outcomes(nothing, everything),
    }


def risk_curve(rows: Sequence[SampleRecord]) -> RiskCurve:
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
        "accuracy": share(correct),
        "correct": share(correct),
        "wrong": share(wrong),
        "rejected": share(rejected),
        "coverage": share(accepted),
        "correct_or_rejected": share([1 - each for each in wrong]),
    }
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


def _suspicion(rows: Sequence[SampleRecord]) -> list[float]:
    """Of the first decision; what JSON could not hold is rejected first."""
    unknown = float("inf")
    return [unknown if row["suspicion"] is None else row["suspicion"] for row in rows]


def _errors(rows: Sequence[SampleRecord]) -> list[float]:
    """Whether the first answer would be wrong, were it accepted."""
    return [float(row["answer"] != row["truth"]) for row in rows]


def attack_success(rows: Sequence[SampleRecord], clean: Sequence[SampleRecord]) -> dict[str, Metric]:
    """Three rates of success that are often taken for one another.

    ``asr_targeted``: the target comes out. ``asr_conditional``: a wrong answer is accepted, among
    the samples that are correct without an attack. ``accuracy_drop``: what of the clean accuracy
    is lost. The last two need the clean records of the same defense.
    """
    found = {}
    if "target_top1" in rows[0]:
        found["asr_targeted"] = share([row["target_top1"] for row in rows])
    before = {row["sample"]: row["original_top1"] for row in clean}
    pairs = [(before[row["sample"]], row) for row in rows if row["sample"] in before]
    held = sum(was for was, _ in pairs)
    if held > 0:
        lost = [was * missed(row["original_top1"], row["rejected"]) for was, row in pairs]
        found["asr_conditional"] = share(lost, held)
    if pairs:
        after = [row["original_top1"] for _, row in pairs]
        drop = statistics.paired_difference([was for was, _ in pairs], after)
        found["accuracy_drop"] = Metric(**drop._asdict())
    return found


def members(rows: Sequence[SampleRecord], names: Sequence[str]) -> dict[str, Member]:
    """Of each member attack, the share it fooled of those that none before it had fooled."""
    by = [number for row in rows if (number := row.get("by")) is not None]
    found = {}
    for index, name in enumerate(names):
        given = [each for each in by if each < 0 or each >= index]
        if given:
            fooled = share([float(each == index) for each in given])
            found[name] = Member(fooled=fooled, n=len(given))
    return found
