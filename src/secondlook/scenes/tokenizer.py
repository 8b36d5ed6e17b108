"""Turns the world's sentences into rows of numbers and back, one number for each word."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from secondlook.errors import InvalidInput
from secondlook.scenes.captions import vocabulary

PAD: Final = 0
BOS: Final = 1
EOS: Final = 2
UNK: Final = 3
LENGTH: Final = 48
"""Tokens in a row by default; the longest caption fits."""

_MARKS: Final = ("<pad>", "<bos>", "<eos>", "<unk>")


@dataclass(frozen=True, kw_only=True)
class Tokenizer:
    """A word-level tokenizer; four marks come first, then the words.

    Attributes:
        words: The vocabulary without marks, in the order of its numbers.

    Raises:
        InvalidInput: There are no words, or a word stands twice or is no lower-case word.

    Example:
        >>> tokenizer = Tokenizer()
        >>> tokenizer.decode(tokenizer.encode(["A red circle!"]))
        ['a red circle']
    """

    words: tuple[str, ...] = field(default_factory=vocabulary)

    def __post_init__(self) -> None:
        if not self.words:
            raise InvalidInput("words is empty; give at least one word, or leave the field out")
        if len(set(self.words)) < len(self.words):
            raise InvalidInput("words has a word twice; give each word once")
        for word in self.words:
            if _split(word) != [word]:
                raise InvalidInput(f"words has {word!r}; write lower-case letters and digits only")

    @property
    def size(self) -> int:
        """How many different tokens there are, marks included."""
        return len(_MARKS) + len(self.words)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the vocabulary; weights that fit one hash fit no other."""
        return hashlib.sha256("\n".join((*_MARKS, *self.words)).encode()).hexdigest()

    @cached_property
    def _numbers(self) -> dict[str, int]:
        return {word: len(_MARKS) + place for place, word in enumerate(self.words)}

    def encode(self, texts: Sequence[str], length: int = LENGTH) -> NDArray[np.int64]:
        """Number the words of each text, between a begin and an end mark.

        Case and punctuation are dropped; a text that is too long loses its last words and keeps
        its end mark; an empty text is the two marks.

        Args:
            texts: ``B`` texts.
            length: Tokens in a row, ``L``, at least 2.

        Returns:
            Tokens ``[B, L]``, padded with 0.

        Raises:
            InvalidInput: The length is below 2, or ``texts`` is one bare string.
        """
        if isinstance(texts, str):
            raise InvalidInput(f"texts={texts!r} is one string; write [{texts!r}]")
        if length < 2:
            raise InvalidInput(f"length={length} has no room for the two marks; write 2 or more")
        rows = np.full((len(texts), length), PAD, dtype=np.int64)
        for row, text in zip(rows, texts, strict=True):
            numbers = [self._numbers.get(word, UNK) for word in _split(text)[: length - 2]]
            row[: len(numbers) + 2] = [BOS, *numbers, EOS]
        return rows

    def decode(self, tokens: Iterable[Iterable[int]]) -> list[str]:
        """The texts of ``[B, L]`` tokens, up to the end mark; unknown words read ``<unk>``.

        Args:
            tokens: Rows of numbers in [0, size).

        Returns:
            ``B`` texts in lower case without punctuation.

        Raises:
            InvalidInput: A number is not in the vocabulary.
        """
        return [" ".join(self._read(row)) for row in tokens]

    def _read(self, row: Iterable[int]) -> Iterable[str]:
        for token in map(int, row):
            if token == EOS:
                return
            if not 0 <= token < self.size:
                raise InvalidInput(f"token={token} is outside [0, {self.size}); use this encode")
            if token not in (PAD, BOS):
                yield (*_MARKS, *self.words)[token]


def _split(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.lower())
