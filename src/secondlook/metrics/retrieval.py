"""Ranks as figures: recalls, and what an attack takes from them, by each of its names.

Searches come in groups, those of one image together, since they fall together: an interval counts
the groups, and so is never narrower than n searches of n images would make it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from secondlook import statistics
from secondlook.errors import InvalidInput
from secondlook.statistics import Interval

CUTS: Final = (1, 5, 10)
"""The k of R@k."""
DIRECTIONS: Final = ("image_to_text", "text_to_image")
Groups = Sequence[Sequence[int]]
"""For each image the ranks of its searches: its own, or those of its captions."""


class Rate(NamedTuple):
    """A share, and what it is a share of.

    Attributes:
        interval: the share, with the ends of its interval.
        of: the number of searches in its denominator.
    """

    interval: Interval
    of: int


def recall(ranks: Groups, k: int) -> Rate:
    """R@k: the share of the searches with a right answer among the first k (the *hit rate*).

    The interval is Wilson's, over the images.

    Example:
        >>> recall([[1], [3], [9]], 5).interval.value
        0.6666666666666666
    """
    of = sum(map(len, ranks))
    hits = sum(rank <= k for group in ranks for rank in group)
    return Rate(_wilson(hits, of, len(ranks)), of)


def share_of(flags: Sequence[Sequence[bool]]) -> Rate:
    """The share of the captions for which something holds; the interval is Wilson's, over the images.

    Example:
        >>> share_of([[True, False], [True, True]]).interval.value
        0.75
    """
    of = sum(map(len, flags))
    return Rate(_wilson(sum(map(sum, flags)), of, len(flags)), of)


def mean_recall(*directions: Groups) -> Interval:
    """The mean of the R@k for each k of ``CUTS`` and each direction of search.

    Example:
        >>> mean_recall([[1], [6]], [[1, 2], [6, 20]]).value
        0.5833333333333334
    """
    values = [recall(ranks, k).interval.value for ranks in directions for k in CUTS]
    groups = min(len(ranks) for ranks in directions)
    return statistics.wilson(sum(values) / len(values) * groups, groups)


def asr(before: Groups, after: Groups, k: int) -> Rate:
    """ASR@k of SGA: of the searches that were right among the first k, the share that no more is.

    Source: Lu et al. 2023 (SGA), in their code: a difference of sets, over the first of them.

    Example:
        >>> asr([[1], [1], [4]], [[2], [1], [1]], 1)
        Rate(interval=Interval(value=0.5, low=0.0945..., high=0.9054...), of=2)

    Raises:
        InvalidInput: the two are not of the same searches.
    """
    pairs = _paired(before, after)
    held = [[(was, now) for was, now in group if was <= k] for group in pairs]
    held = [group for group in held if group]
    lost = sum(now > k for group in held for _, now in group)
    of = sum(map(len, held))
    return Rate(_wilson(lost, of, len(held)), of)


def drop(before: Groups, after: Groups, k: int) -> Interval:
    """R@k lost: what Co-Attack's tables call ASR (Zhang et al. 2022), a difference of two shares.

    The interval is a paired bootstrap over the images.

    Example:
        >>> drop([[1], [1], [4], [1]], [[2], [1], [1], [3]], 1).value
        0.25

    Raises:
        InvalidInput: the two are not of the same searches.
    """
    pairs = _paired(before, after)
    weight = len(pairs) / max(1, sum(map(len, pairs)))
    first = [weight * sum(was <= k for was, _ in group) for group in pairs]
    return statistics.paired_difference(first, [weight * sum(now <= k for _, now in group) for group in pairs])


def _wilson(hits: int, of: int, groups: int) -> Interval:
    if not of:
        return statistics.wilson(0, 0)
    # The very share, without the rounding of the way there and back.
    return statistics.wilson(hits / of * groups, groups)._replace(value=hits / of)


def _paired(before: Groups, after: Groups) -> list[list[tuple[int, int]]]:
    if list(map(len, before)) != list(map(len, after)):
        raise InvalidInput("ranks before and after an attack are not of the same searches")
    return [list(zip(*groups, strict=True)) for groups in zip(before, after, strict=True)]
