"""The part of the typed result that says how well suspicions tell attacked inputs from clean."""

from __future__ import annotations

from pydantic import Field

from secondlook.audit.measured import Measured, Metric, Plain


class Calibrated(Plain):
    """A suspicion at a threshold from held-out clean inputs: shares of inputs above it."""

    threshold: float
    fpr: Metric
    tpr: Metric | None = None
    """None in clean rows."""


class Sorting(Plain):
    """Clean and attacked inputs as a threshold sorts them; ``accuracy`` is over all of them."""

    threshold: Measured
    accuracy: Metric
    caught: int
    missed: int
    passed: int
    refused: int


class Histogram(Plain):
    """Inputs by suspicion; what is infinite is in the last bin."""

    edges: list[float]
    clean: list[int]
    attacked: list[int]


class Roc(Plain):
    """Points of the curve, both rates rising."""

    fpr: list[float]
    tpr: list[float]


class Flagged(Plain):
    """Share of the ``n`` inputs of one kind that were rejected."""

    attribute: str
    value: str
    n: int
    flagged: Metric


class Detection(Plain):
    """How well a suspicion tells the attacked inputs of a row from those of its clean row.

    Clean rows have the rejections and the rates at calibrated thresholds alone.
    """

    rejected: Metric
    """Share of the row's inputs that the defence itself rejected."""
    by_attribute: list[Flagged] = Field(default_factory=list)
    calibrated: dict[str, Calibrated] = Field(default_factory=dict)
    """By the false positive rate that was asked for, ``0.05``."""
    sorting: Sorting | None = None
    """At the threshold of ``0.05``."""
    auroc: Metric | None = None
    average_precision: Metric | None = None
    ahead: Metric | None = None
    """AUROC of the audit's first detector less this one's, on the same inputs."""
    optimistic: dict[str, Sorting] = Field(default_factory=dict)
    """At thresholds chosen on these very inputs: ``youden``, ``equal_tpr_tnr``."""
    histogram: Histogram | None = None
    roc: Roc | None = None
