"""Of several texts the one that has most in common with the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from secondlook.metrics.ngrams import LONGEST, Run, runs, words


def medoid(texts: Sequence[str]) -> int:
    """The place of the text that shares most runs of words with all others; the first of equals.

    Runs of one to four words weigh the same, whatever they are: nothing is asked of the images that
    are evaluated, as the weights of CIDEr would.

    Example:
        >>> medoid(["a red cat", "a blue dog", "a red dog"])
        2
    """
    said = [_runs(text) for text in texts]
    shared = [
        sum(_likeness(one, other) for at, other in enumerate(said) if at != place)
        for place, one in enumerate(said)
    ]
    return max(range(len(texts)), key=lambda place: (shared[place], -place))


def _runs(text: str) -> Counter[Run]:
    spoken = words(text)
    return sum((runs(spoken, length) for length in range(1, LONGEST + 1)), Counter[Run]())


def _likeness(one: Counter[Run], other: Counter[Run]) -> float:
    """Twice the runs that both have, over all that they have."""
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0
