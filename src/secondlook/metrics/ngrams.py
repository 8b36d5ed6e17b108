"""Texts as words, and words as counted runs of one to four."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from secondlook.errors import InvalidInput

LONGEST: Final = 4
"""Words in the longest run that captions are compared by."""

Run = tuple[str, ...]
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


def runs(spoken: Sequence[str], length: int) -> Counter[Run]:
    """How often each run of ``length`` words comes.

    Example:
        >>> runs(("a", "b", "a", "b"), 2)
        Counter({('a', 'b'): 2, ('b', 'a'): 1})
    """
    return Counter(zip(*(spoken[start:] for start in range(length)), strict=False))


def paired(candidates: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    """Refuses candidates that are not one for each image, and images without a reference.

    Raises:
        InvalidInput: see above.
    """
    if isinstance(candidates, str) or len(candidates) != len(references):
        raise InvalidInput(
            f"{len(candidates)} caption(s) for {len(references)} image(s); give one for each image"
        )
    for number, texts in enumerate(references):
        if isinstance(texts, str) or not texts:
            raise InvalidInput(f"references of image {number} are {texts!r}; give a list of texts")
