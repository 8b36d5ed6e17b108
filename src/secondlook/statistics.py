"""Intervals: no number goes out without n and a low and a high end."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
RESAMPLES = 2000
"""Of a bootstrap interval."""
_AT_ONCE = 2**17
"""Numbers that are drawn together, so that many samples take no more memory than a few."""
Numbers = NDArray[np.float64]
Range = tuple[float, float]
"""The least and the largest value that a figure can have."""


class Interval(NamedTuple):
    """A value with the ends of its confidence interval."""

    value: float
    low: float
    high: float


def wilson(successes: float, n: float, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval of a share; honest at 0 and at n, where others are empty.

    ``successes`` may be fractional: the mean over fresh draws of a randomized defense; and so may
    ``n``, where a sample counts for the share of its draws that are asked about.

    Example:
        >>> wilson(0, 1000).high < 0.0039
        True
    """
    if n == 0:
        return Interval(float("nan"), 0.0, 1.0)
    z = float(stats.norm.ppf((1 + confidence) / 2))
    share = successes / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return Interval(share, max(0.0, float(center - half)), min(1.0, float(center + half)))


def not_a_point(found: Interval, n: int, within: Range, confidence: float = CONFIDENCE) -> Interval:
    """A bootstrap interval, widened where it is a point because all resamples are equal.

    Of n equal observations, Wilson's interval of the share that differs from them is
    ``[0, z² / (n + z²)]``; that share may lie at either end of the range. One observation says
    nothing of its spread: its interval is the whole range.

    Args:
        found: the interval of the bootstrap.
        n: how many observations were resampled.
        within: the range of the figure.
        confidence: of the interval.

    Example:
        >>> not_a_point(Interval(1.0, 1.0, 1.0), 8, (0.0, 1.0)).low == wilson(8, 8).low
        True
    """
    value, low, high = found
    if n > 1 and low < high:
        return found
    z = float(stats.norm.ppf((1 + confidence) / 2))
    share = 1.0 if n <= 1 else z * z / (n + z * z)
    down, up = share * (value - within[0]), share * (within[1] - value)
    return Interval(value, min(low, value - down), max(high, value + up))


def mean(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The mean of per-sample values with Student's interval.

    Example:
        >>> [round(end, 2) for end in mean([1.0, 2.0, 3.0])]
        [2.0, -0.48, 4.48]
    """
    n = len(values)
    if n == 0:
        return Interval(float("nan"), float("nan"), float("nan"))
    center = float(np.mean(values))
    if n == 1:
        return Interval(center, float("-inf"), float("inf"))
    half = float(stats.t.ppf((1 + confidence) / 2, n - 1) * stats.sem(values))
    return Interval(center, center - half, center + half)


def paired_difference(
    first: Sequence[float],
    second: Sequence[float],
    seed: int = 0,
    confidence: float = CONFIDENCE,
    within: Range = (-1.0, 1.0),
) -> Interval:
    """Mean of ``first - second`` over the same samples, with a percentile bootstrap interval.

    Args:
        first: a value of each sample.
        second: another of the same samples.
        seed: of the resamples.
        confidence: of the interval.
        within: the range of the mean, that of a difference of shares as a rule; equal or single
            differences have an interval by it (:func:`not_a_point`).

    Example:
        >>> paired_difference([1, 1, 1, 1], [0, 0, 0, 0])
        Interval(value=1.0, low=0.0202..., high=1.0)
    """
    difference = np.asarray(first, dtype=float) - np.asarray(second, dtype=float)
    if not difference.size:
        return Interval(float("nan"), float("nan"), float("nan"))
    if difference.size < 2 or np.ptp(difference) == 0:
        value = float(difference.mean())
        point = Interval(value, value, value)
        return not_a_point(point, difference.size, within, confidence)
    result = stats.bootstrap(
        (difference,),
        np.mean,
        confidence_level=confidence,
        method="percentile",
        n_resamples=RESAMPLES,
        batch=max(_AT_ONCE // difference.size, 1),
        rng=np.random.default_rng(seed),
    )
    ends = result.confidence_interval
    return Interval(float(difference.mean()), float(ends.low), float(ends.high))


def of_totals(
    counts: Numbers,
    figure: Callable[[Numbers], Numbers],
    seed: int = 0,
    confidence: float = CONFIDENCE,
    within: Range = (0.0, 1.0),
) -> Interval:
    """A figure of sums over the samples, with a percentile bootstrap interval over the samples.

    Args:
        counts: what each sample adds, ``[n, k]``.
        figure: from sums ``[..., k]`` to the figure, ``[...]``.
        seed: of the resamples.
        confidence: of the interval.
        within: the range of the figure, for :func:`not_a_point`.

    Example:
        >>> share = of_totals(np.array([[1.0, 2.0], [1.0, 1.0]]), lambda s: s[..., 0] / s[..., 1])
        >>> round(share.value, 3), round(share.low, 3), round(share.high, 3)
        (0.667, 0.5, 1.0)
    """
    n = len(counts)
    if not n:
        return Interval(float("nan"), float("nan"), float("nan"))
    rng, some = np.random.default_rng(seed), max(_AT_ONCE // n, 1)
    sizes = [min(some, RESAMPLES - start) for start in range(0, RESAMPLES, some)]
    sums = [rng.multinomial(n, np.full(n, 1 / n), size=size) @ counts for size in sizes]
    tails = [(1 - confidence) / 2, (1 + confidence) / 2]
    value, drawn = float(figure(counts.sum(0))), figure(np.concatenate(sums))
    if np.isnan(drawn).all():
        return Interval(value, float("nan"), float("nan"))
    low, high = np.nanquantile(drawn, tails)
    return not_a_point(Interval(value, float(low), float(high)), n, within, confidence)


def majority_bound(eta: float, votes: int) -> float:
    """P(Bin(votes, eta) > votes / 2): the paper's bound, were the votes independent.

    Source: arXiv 2511.21893. Reconstructions of one input are correlated, so it is no guarantee.

    Example:
        >>> round(majority_bound(0.3, 10), 3)
        0.047
    """
    return float(stats.binom.sf(votes // 2, votes, eta))


def at_least_one(hits: Sequence[int], tries: int) -> Numbers:
    """The chance that of k tries at a sample at least one hits, ``[B, tries]`` for k from 1 on.

    Estimated without bias from ``hits`` of so many ``tries`` at each sample, ``[B]``: one less the share
    of all choices of k tries that hold none (Chen et al. 2021, arXiv 2107.03374, eq. 1).

    Example:
        >>> at_least_one([0, 1, 4], 4).tolist()
        [[0.0, 0.0, 0.0, 0.0], [0.25, 0.5, 0.75, 1.0], [1.0, 1.0, 1.0, 1.0]]
    """
    before = np.arange(tries, dtype=np.float64)
    missed = tries - np.asarray(hits, dtype=np.float64)[:, None]
    none: Numbers = np.cumprod(np.maximum(missed - before, 0) / (tries - before), axis=1, dtype=np.float64)
    return 1 - none


def risk_coverage(suspicion: Sequence[float], wrong: Sequence[float]) -> Numbers:
    """The share of wrong answers among the k least suspicious samples, for k from 1 to n.

    Samples of equal suspicion have no order; each stands for the mean of its equals, so that a
    suspicion that says nothing gives the plain error rate at every coverage.

    Args:
        suspicion: ``[n]``, higher is rejected earlier.
        wrong: ``[n]``, whether the answer would be wrong if it were accepted.

    Example:
        >>> risk_coverage([0.1, 0.2, 0.9], [0, 0, 1]).tolist()
        [0.0, 0.0, 0.3333333333333333]
    """
    ranks = np.unique(np.asarray(suspicion, dtype=float), return_inverse=True)[1].reshape(-1)
    return _risks(ranks, np.asarray(wrong, dtype=float))


def aurc(suspicion: Sequence[float], wrong: Sequence[float], seed: int = 0, confidence: float = CONFIDENCE) -> Interval:
    """Area under the risk-coverage curve, with a percentile bootstrap interval over the samples.

    Source: Geifman, Uziel and El-Yaniv 2019, section 3. Lower is better; 0 is to reject every
    error before any right answer and to make none.

    Example:
        >>> round(aurc([0.1, 0.2, 0.9], [0, 0, 1]).value, 3)
        0.111
    """
    ranks = np.unique(np.asarray(suspicion, dtype=float), return_inverse=True)[1].reshape(-1)
    errors = np.asarray(wrong, dtype=float)
    if not len(errors):
        return Interval(float("nan"), float("nan"), float("nan"))
    rng, n = np.random.default_rng(seed), len(errors)
    draws = (rng.integers(n, size=n) for _ in range(RESAMPLES))
    areas = [_risks(ranks[rows], errors[rows]).mean() for rows in draws]
    low, high = np.quantile(areas, [(1 - confidence) / 2, (1 + confidence) / 2])
    area = float(_risks(ranks, errors).mean())
    found = Interval(area, min(float(low), area), max(float(high), area))
    return not_a_point(found, n, (0.0, 1.0), confidence)


def _risks(ranks: NDArray[np.intp], wrong: Numbers) -> Numbers:
    """The risk at each coverage, for suspicion given as ranks from 0 on."""
    members = np.bincount(ranks)
    share = np.bincount(ranks, weights=wrong) / np.maximum(members, 1)
    below = np.repeat(share, members).cumsum()
    return below / np.arange(1, len(wrong) + 1)
