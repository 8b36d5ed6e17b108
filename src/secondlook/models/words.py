"""A word tokenizer from a file of words and a few rules, as an exported text encoder needs it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class WordTokenizer:
    """Splits a text by ``pattern`` and numbers its words.

    Attributes:
        vocabulary: the number of each word.
        pattern: a regular expression that matches one word.
        lowercase: whether case is dropped first.
        length: tokens in a row, ``L``; later words are dropped.
        pad: what fills a row up.
        unknown: the number of a word that the vocabulary has not.
    """

    vocabulary: Mapping[str, int]
    pattern: str
    lowercase: bool
    length: int
    pad: int
    unknown: int

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Texts to token ids ``[B, L]``.

        Raises:
            InvalidInput: a text has no word that ``pattern`` matches.
        """
        rows = torch.full((len(texts), self.length), self.pad, dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            words = re.findall(self.pattern, text.lower() if self.lowercase else text)
            if not words:
                raise InvalidInput(f"text {text!r} has no word (no match of {self.pattern!r})")
            ids = [self.vocabulary.get(word, self.unknown) for word in words[: self.length]]
            row[: len(ids)] = torch.tensor(ids)
        return rows
