"""BLEU: how many of a set's runs of words are in the references (Papineni et al. 2002)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from secondlook.metrics.ngrams import LONGEST, Run, paired, runs, words


def bleu(
    candidates: Sequence[str], references: Sequence[Sequence[str]], longest: int = LONGEST
) -> float:
    """BLEU of a whole set of captions, in [0, 1], without smoothing.

    The geometric mean over runs of one to ``longest`` words of the share that is in a reference,
    no run counting more often than in one of them, times the penalty for being short: each caption
    is held against its reference of the nearest length, the shorter of two.

    Args:
        candidates: one caption for each image.
        references: for each image one or more texts.
        longest: words in the longest run.

    Raises:
        InvalidInput: not as many captions as images, or an image without a reference.

    Example:
        >>> round(bleu(["the cat sat on the mat"], [["the cat sat on a mat"]]), 4)
        0.5373
    """
    return float(score(np.sum(counted(candidates, references, longest), axis=0)))


def counted(
    candidates: Sequence[str], references: Sequence[Sequence[str]], longest: int = LONGEST
) -> NDArray[np.float64]:
    """What each caption adds to the sums that BLEU is made of, ``[n, 2 longest + 2]``.

    They are the runs of each length that are in a reference, all its runs of each length, its
    words, and those of its nearest reference.

    Raises:
        InvalidInput: not as many captions as images, or an image without a reference.
    """
    paired(candidates, references)
    rows = [
        _counts(words(text), [words(other) for other in texts], longest)
        for text, texts in zip(candidates, references, strict=True)
    ]
    return np.array(rows, dtype=float).reshape(-1, 2 * longest + 2)


def score(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """BLEU of sums ``[..., 2 longest + 2]`` over a set, as :func:`counted` has them; ``[...]``."""
    longest = sums.shape[-1] // 2 - 1
    hits, total = sums[..., :longest], sums[..., longest : 2 * longest]
    spoken, due = sums[..., -2], sums[..., -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.log(hits / total).mean(-1)
        short = np.minimum(0.0, 1 - due / spoken)
    found: NDArray[np.float64] = np.where((hits > 0).all(-1), np.exp(short + means), 0.0)
    return found


def _counts(said: tuple[str, ...], meant: Sequence[tuple[str, ...]], longest: int) -> list[int]:
    hits, totals = [], []
    for length in range(1, longest + 1):
        found, most = runs(said, length), Counter[Run]()
        for text in meant:
            most |= runs(text, length)
        hits.append((found & most).total())
        totals.append(found.total())
    return [*hits, *totals, len(said), _nearest(len(said), [len(text) for text in meant])]


def _nearest(length: int, lengths: Sequence[int]) -> int:
    return min(lengths, key=lambda other: (abs(other - length), other))
