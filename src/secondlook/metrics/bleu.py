"""BLEU: how many of a set's runs of words are in the references (Papineni et al. 2002)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

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
    paired(candidates, references)
    said = [words(text) for text in candidates]
    meant = [[words(text) for text in texts] for texts in references]
    shares = [_precision(said, meant, length) for length in range(1, longest + 1)]
    if not all(shares):
        return 0.0
    spoken = sum(map(len, said))
    due = sum(_nearest(len(one), [len(text) for text in texts])
              for one, texts in zip(said, meant, strict=True))  # fmt: skip
    short = min(0.0, 1 - due / spoken)
    return math.exp(short + sum(map(math.log, shares)) / longest)


def _precision(
    said: Sequence[tuple[str, ...]], meant: Sequence[Sequence[tuple[str, ...]]], length: int
) -> float:
    hits = total = 0
    for one, texts in zip(said, meant, strict=True):
        found, most = runs(one, length), Counter[Run]()
        for text in texts:
            most |= runs(text, length)
        hits += (found & most).total()
        total += found.total()
    return hits / total if total else 0.0


def _nearest(length: int, lengths: Sequence[int]) -> int:
    return min(lengths, key=lambda other: (abs(other - length), other))
