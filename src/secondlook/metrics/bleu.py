"""BLEU: precision of a set's n-grams against the references (Papineni et al. 2002)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from secondlook.metrics.ngrams import MAX_N, NGram, ngrams, paired, words


def bleu(candidates: Sequence[str], references: Sequence[Sequence[str]], longest: int = MAX_N) -> float:
    """BLEU of a whole set of captions, in [0, 1], without smoothing.

    The geometric mean over n, from 1 to ``longest``, of the clipped n-gram precision, times the
    brevity penalty: each caption is compared with its reference of the nearest length, the shorter
    of two.

    Args:
        candidates: one caption for each image.
        references: for each image one or more texts.
        longest: the largest n.

    Raises:
        InvalidInput: not as many captions as images, or an image without a reference.

    Example:
        >>> round(bleu(["the cat sat on the mat"], [["the cat sat on a mat"]]), 4)
        0.5373
    """
    return float(score(np.sum(counted(candidates, references, longest), axis=0)))


def counted(
    candidates: Sequence[str], references: Sequence[Sequence[str]], longest: int = MAX_N
) -> NDArray[np.float64]:
    """What each caption adds to the sums that BLEU is made of, ``[n, 2 longest + 2]``.

    They are the n-grams of each n that are in a reference, all its n-grams of each n, its
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
    tokens, due = sums[..., -2], sums[..., -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        means = np.log(hits / total).mean(-1)
        short = np.minimum(0.0, 1 - due / tokens)
    found: NDArray[np.float64] = np.where((hits > 0).all(-1), np.exp(short + means), 0.0)
    return found


def _counts(candidate: tuple[str, ...], reference: Sequence[tuple[str, ...]], longest: int) -> list[int]:
    hits, totals = [], []
    for length in range(1, longest + 1):
        found, most = ngrams(candidate, length), Counter[NGram]()
        for text in reference:
            most |= ngrams(text, length)
        hits.append((found & most).total())
        totals.append(found.total())
    return [*hits, *totals, len(candidate), _nearest(len(candidate), [len(text) for text in reference])]


def _nearest(length: int, lengths: Sequence[int]) -> int:
    return min(lengths, key=lambda other: (abs(other - length), other))
