"""Records as figures: shares and means, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

import numpy as np

from secondlook import statistics
from secondlook.schema import Metric
from secondlook.statistics import Interval

_SHARES = (
    *(f"{who}_top{k}" for who in ("target", "original") for k in ("1", "5", "1_worst", "1_vote")),
    "success",
    "success_worst",
    "success_vote",
)
_COSINES = ("cosine_target", "cosine_original", "cosine_clean_image")
_MEANS = (*_COSINES, "suspicion", "draws")
_RANGES = dict.fromkeys(_COSINES, (-1.0, 1.0))
"""What a mean can be at all; its interval goes no further, and of one sample it is just that."""


def metrics(rows: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
    """Shares with Wilson's interval, means with Student's and their standard deviation."""
    found = {name: share([row[name] for row in rows]) for name in _SHARES if name in rows[0]}
    for name in _MEANS:
        values = [row[name] for row in rows if row.get(name) is not None]
        if values and (figure := _mean(name, values)):
            found[name] = figure
    return found


def share(values: Sequence[float], n: float | None = None) -> Metric:
    """The share of ``values``, each 0 to 1, among ``n`` of them (or all), with Wilson's interval.

    A sum that rounding has carried past ``n`` is taken as ``n``.
    """
    among = len(values) if n is None else n
    successes = min(max(float(sum(values)), 0.0), among)
    return Metric(**statistics.wilson(successes, among)._asdict())


def average(values: Sequence[float]) -> Metric:
    """A mean over the samples, with Student's interval."""
    return metric(statistics.mean(values))


def metric(interval: Interval) -> Metric:
    """An interval as a figure."""
    return Metric(**interval._asdict())


def _mean(name: str, values: Sequence[float]) -> Metric | None:
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    center, low, high = statistics.mean(values)
    least, most = _RANGES.get(name, (0.0, float("inf")))
    low, high = max(low, least), min(high, most)
    return Metric(value=center, low=low, high=high, sd=spread) if isfinite(high) else None
