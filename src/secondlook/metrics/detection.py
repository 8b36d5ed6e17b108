"""How well a suspicion separates attacked from clean inputs; attacked is the positive class."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from secondlook.errors import InvalidInput
from secondlook.statistics import CONFIDENCE, RESAMPLES, Interval, Numbers, not_a_point, wilson

_TINY = 1e-12
_Rows = NDArray[np.int64]


class Confusion(NamedTuple):
    """Counts at a threshold: attacked ones caught and missed, clean ones passed and refused."""

    caught: int
    missed: int
    passed: int
    refused: int

    @property
    def accuracy(self) -> Interval:
        """Share of all that are classified right, with Wilson's interval."""
        return wilson(self.caught + self.passed, sum(self))

    @property
    def balanced(self) -> float:
        """Mean of the shares of attacked and of clean inputs that are classified right."""
        return (self.caught / (self.caught + self.missed) + self.passed / self.negatives) / 2

    @property
    def negatives(self) -> int:
        """Clean inputs."""
        return self.passed + self.refused


def confusion(clean: ArrayLike, attacked: ArrayLike, threshold: float) -> Confusion:
    """Counts where all with a suspicion above ``threshold`` are rejected.

    Example:
        >>> confusion([0.1, 0.4], [0.3, 0.9], threshold=0.35)
        Confusion(caught=1, missed=1, passed=1, refused=1)

    Raises:
        InvalidInput: one side is empty, or holds NaN.
    """
    low, high = _both(clean, attacked)
    caught, refused = int((high > threshold).sum()), int((low > threshold).sum())
    return Confusion(caught, len(high) - caught, len(low) - refused, refused)


def auroc(clean: ArrayLike, attacked: ArrayLike, confidence: float = CONFIDENCE) -> Interval:
    """Area under the ROC curve: P(attacked > clean) + P(equal) / 2, with an interval.

    The interval is of the score type (Newcombe 2006, Statistics in Medicine 25:559, method 5): it
    holds the areas that the one found is not too far from, by the deviation that each of *them*
    would have (Hanley and McNeil 1982). At an area of 1 it is no point, as a bootstrap's would be.

    Example:
        >>> auroc([0.1, 0.2], [0.2, 0.3]).value
        0.875

    Raises:
        InvalidInput: one side is empty, or holds NaN.
    """
    low, high = _both(clean, attacked)
    area = _area(low, high)
    z = float(stats.norm.ppf((1 + confidence) / 2))

    def beyond(other: float) -> float:
        return (other - area) ** 2 - z * z * _variance(other, len(low), len(high))

    # At an end of the scale the area itself is a root, and the one that is meant lies beside it.
    inside = min(max(area, _TINY), 1 - _TINY)
    bottom = 0.0 if area <= _TINY else float(optimize.brentq(beyond, 0.0, inside))
    top = 1.0 if area >= 1 - _TINY else float(optimize.brentq(beyond, inside, 1.0))
    return Interval(area, bottom, top)


def average_precision(clean: ArrayLike, attacked: ArrayLike, seed: int = 0) -> Interval:
    """Area under precision and recall, as a step function, with a bootstrap interval.

    It depends on how many there are of each; ties are taken together.

    Example:
        >>> average_precision([0.1, 0.2], [0.3, 0.4]).value
        1.0

    Raises:
        InvalidInput: one side is empty, or holds NaN.
    """
    low, high = _both(clean, attacked)
    return _resampled(_precision, low, high, seed)


def true_positive_rate(clean: ArrayLike, attacked: ArrayLike, rate: float) -> Interval:
    """Share of attacked inputs above the least threshold that rejects ``rate`` of the clean ones.

    The threshold is taken from the very clean scores that are given: it is a point of the ROC
    curve, and no threshold that could have been set beforehand.

    Example:
        >>> true_positive_rate([0.1, 0.2, 0.3, 0.4], [0.35, 0.5], rate=0.25).value
        1.0

    Raises:
        InvalidInput: one side is empty or holds NaN, or ``rate`` is outside (0, 1).
    """
    if not 0 < rate < 1:
        raise InvalidInput(f"rate={rate:g} is outside (0, 1); write 0.05 for 5 %")
    low, high = _both(clean, attacked)
    allowed = int(np.floor(rate * len(low) + 1e-9))
    threshold = np.sort(low)[::-1][allowed]
    return wilson(int((high > threshold).sum()), len(high))


def auroc_difference(
    clean: tuple[ArrayLike, ArrayLike], attacked: tuple[ArrayLike, ArrayLike], seed: int = 0, twins: bool = False
) -> Interval:
    """AUROC of the first detector less that of the second, on the same inputs (bootstrap).

    Args:
        clean: suspicions of clean inputs, by each detector.
        attacked: the same of attacked ones.
        seed: of the draws.
        twins: whether the attacked inputs are the clean ones, in their order; each is then drawn
            with its twin.

    Example:
        >>> auroc_difference(([0.1, 0.2], [0.1, 0.2]), ([0.3, 0.4], [0.1, 0.2])).value
        0.5

    Raises:
        InvalidInput: one side is empty or holds NaN, or the detectors saw different inputs.
    """
    (low, high), (other_low, other_high) = (_both(c, a) for c, a in zip(clean, attacked, strict=True))
    if low.shape != other_low.shape or high.shape != other_high.shape:
        raise InvalidInput("the detectors were given different numbers of inputs; pair them")
    rng = np.random.default_rng(seed)
    first, other = _areas(low, high), _areas(other_low, other_high)
    draws = []
    for _ in range(RESAMPLES // 2):
        left, right = (rng.integers(len(side), size=len(side)) for side in (low, high))
        right = left if twins else right
        draws.append(first(left, right) - other(left, right))
    bottom, top = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    value = _area(low, high) - _area(other_low, other_high)
    found = Interval(value, float(bottom), float(top))
    return not_a_point(found, min(len(low), len(high)), (-1.0, 1.0))


def youden(clean: ArrayLike, attacked: ArrayLike) -> float:
    """The threshold of the largest TPR - FPR on these very scores (Youden 1950).

    It is chosen on what is then reported on, with attacked inputs at hand: optimistic, and for
    comparison with published figures alone. A deployed threshold is ``conformal_threshold``.

    Example:
        >>> youden([0.1, 0.2], [0.3, 0.4])
        0.2
    """
    cuts, caught, refused = _curve(*_both(clean, attacked))
    return float(cuts[np.argmax(caught - refused)])


def equal_tpr_tnr(clean: ArrayLike, attacked: ArrayLike) -> float:
    """The threshold where TPR and TNR are nearest to each other (arXiv 2406.09250's code).

    As optimistic as :func:`youden`, and for the same use.

    Example:
        >>> equal_tpr_tnr([0.1, 0.2], [0.3, 0.4])
        0.2
    """
    cuts, caught, refused = _curve(*_both(clean, attacked))
    return float(cuts[np.argmin(np.abs(caught - (1 - refused)))])


def roc(clean: ArrayLike, attacked: ArrayLike, points: int = 64) -> tuple[Numbers, Numbers]:
    """False and true positive rates, both rising from a FPR of 0 to 1, at most ``points`` of them.

    Of each FPR it is the largest TPR. Where there are more, those are left out that lie closest on
    a logarithmic axis.

    Example:
        >>> [rate.tolist() for rate in roc([0.1, 0.2], [0.2, 0.3])]
        [[0.0, 0.5, 1.0], [0.5, 1.0, 1.0]]

    Raises:
        InvalidInput: one side is empty, or holds NaN.
    """
    _, caught, refused = _curve(*_both(clean, attacked))
    rates, first = np.unique(refused, return_index=True)
    if len(rates) > points:
        even = np.geomspace(rates[1], 1, points - 1)
        kept = np.unique([0, *np.searchsorted(rates, even * (1 - _TINY)).tolist()])
        rates, first = rates[kept], first[kept]
    return rates, caught[first]


def _curve(low: Numbers, high: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Thresholds, and TPR and FPR at each: the scores themselves, and one below all."""
    cuts = np.unique(np.concatenate([low, high, [min(low.min(), high.min()) - 1]]))
    caught = 1 - np.searchsorted(np.sort(high), cuts, side="right") / len(high)
    refused = 1 - np.searchsorted(np.sort(low), cuts, side="right") / len(low)
    return cuts, caught, refused


def _both(clean: ArrayLike, attacked: ArrayLike) -> tuple[Numbers, Numbers]:
    low, high = (np.asarray(side, dtype=float).reshape(-1) for side in (clean, attacked))
    if not len(low) or not len(high):
        raise InvalidInput(f"{len(low)} clean and {len(high)} attacked inputs; both are needed")
    if np.isnan(low).any() or np.isnan(high).any():
        raise InvalidInput("suspicions hold NaN; find what made them")
    return low, high


def _area(low: Numbers, high: Numbers) -> float:
    ranks = stats.rankdata(np.concatenate([low, high]))[len(low) :].sum()
    return float((ranks - len(high) * (len(high) + 1) / 2) / (len(low) * len(high)))


def _areas(low: Numbers, high: Numbers) -> Callable[[_Rows, _Rows], float]:
    """The area of any draw of rows of both sides; what can be sorted is sorted once for all."""
    levels, place = np.unique(np.concatenate([low, high]), return_inverse=True)
    clean, attacked = place[: len(low)], place[len(low) :]

    def area(left: _Rows, right: _Rows) -> float:
        counts = np.bincount(clean[left], minlength=len(levels))
        beaten = np.cumsum(counts) - counts / 2
        return float(beaten[attacked[right]].sum() / (len(left) * len(right)))

    return area


def _variance(area: float, low: int, high: int) -> float:
    """Hanley and McNeil's variance of an area, both counts less one at their mean."""
    rest = (low + high) / 2 - 1
    spread = (1 - area) / (2 - area) + area / (1 + area)
    return area * (1 - area) * (1 + rest * spread) / (low * high)


def _precision(low: Numbers, high: Numbers) -> float:
    cuts = np.unique(high)[::-1]
    caught = len(high) - np.searchsorted(np.sort(high), cuts, side="left")
    refused = len(low) - np.searchsorted(np.sort(low), cuts, side="left")
    gained = np.diff(caught, prepend=0) / len(high)
    return float((gained * caught / (caught + refused)).sum())


def _resampled(figure: Callable[[Numbers, Numbers], float], low: Numbers, high: Numbers, seed: int) -> Interval:
    rng = np.random.default_rng(seed)
    sides: Sequence[Numbers] = (low, high)
    draws = [figure(*(side[rng.integers(len(side), size=len(side))] for side in sides)) for _ in range(RESAMPLES // 2)]
    bottom, top = np.quantile(draws, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    value = figure(low, high)
    found = Interval(value, min(float(bottom), value), max(float(top), value))
    return not_a_point(found, min(map(len, sides)), (0.0, 1.0))
