"""Words and n-grams of texts, and the medoid of several texts by the n-grams that they share."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from secondlook.errors import InvalidInput

MAX_N: Final = 4
"""The longest n-grams that captions are compared by."""

NGram = tuple[str, ...]
_WORD: Final = re.compile(r"\w+(?:['-]\w+)*")


def words(text: str) -> tuple[str, ...]:
    """The words of a text in small letters, without punctuation.

    The published scores split words by the tokenizer of the Penn Treebank, which parts ``isn't``
    into ``is n't``; this one does not.

    Example:
        >>> words("A well-kept dog, isn't it?")
        ('a', 'well-kept', 'dog', "isn't", 'it')
    """
    return tuple(_WORD.findall(text.lower()))


def ngrams(tokens: Sequence[str], length: int) -> Counter[NGram]:
    """How often each n-gram of ``length`` words occurs.

    Example:
        >>> ngrams(("a", "b", "a", "b"), 2)
        Counter({('a', 'b'): 2, ('b', 'a'): 1})
    """
    return Counter(zip(*(tokens[start:] for start in range(length)), strict=False))


def paired(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuses candidates that are not one for each image, and images without a reference.

    Raises:
        InvalidInput: see above.
    """
    if isinstance(candidates, str) or len(candidates) != len(references):
        raise InvalidInput(f"{len(candidates)} caption(s) for {len(references)} image(s); give one for each image")
    for number, texts in enumerate(references):
        if isinstance(texts, str) or not texts:
            raise InvalidInput(f"references of image {number} are {texts!r}; give a list of texts")


def medoid(texts: Sequence[str]) -> int:
    """The index of the text that shares most n-grams with all others; the first of equals.

    N-grams of one to four words weigh the same: unlike CIDEr's, the weights do not depend on the
    images that are evaluated.

    Example:
        >>> medoid(["a red cat", "a blue dog", "a red dog"])
        2
    """
    found = [_all_ngrams(text) for text in texts]
    shared = [
        sum(_similarity(one, other) for at, other in enumerate(found) if at != place) for place, one in enumerate(found)
    ]
    return max(range(len(texts)), key=lambda place: (shared[place], -place))


def _all_ngrams(text: str) -> Counter[NGram]:
    tokens = words(text)
    return sum((ngrams(tokens, length) for length in range(1, MAX_N + 1)), Counter[NGram]())


def _similarity(one: Counter[NGram], other: Counter[NGram]) -> float:
    """Twice the n-grams that both have, over all that they have (Dice)."""
    total = one.total() + other.total()
    return 2 * (one & other).total() / total if total else 1.0
