"""BERT's uncased WordPiece tokenizer, from its published list of words (arXiv 1810.04805)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.registry import digest

VOCABULARY: Final = "vocab.txt"
_LONGEST: Final = 100
# Ideographs stand alone; so does every punctuation mark, for which all other ASCII signs count too.
_ALONE: Final = re.compile(
    r"([!-/:-@\[-`{-~\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002ceaf\U0002f800-\U0002fa1f])"
)


class Tokens(NamedTuple):
    """Rows of tokens.

    Attributes:
        ids: ``[B, L]``.
        mask: ``[B, L]``, 1 at tokens and 0 at padding.
    """

    ids: Tensor
    mask: Tensor


@dataclass(frozen=True, kw_only=True)
class WordPieceTokenizer:
    """Texts to ``[CLS]``, pieces of words, ``[SEP]``, ``[PAD]``.

    Marks that are written out in a text are read as plain characters.

    Attributes:
        vocabulary: the number of each piece; a piece inside a word begins with ``##``.
        length: tokens in a row, ``L``, both marks included; later pieces are dropped.
    """

    vocabulary: dict[str, int]
    length: int

    @classmethod
    def read(cls, path: Path, length: int) -> WordPieceTokenizer:
        """The tokenizer of a list with one piece a line.

        Raises:
            InvalidInput: the list lacks a mark.
        """
        lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        vocabulary = {line.strip(): number for number, line in enumerate(lines)}
        for mark in ("[PAD]", "[UNK]", "[CLS]", "[SEP]"):
            if mark not in vocabulary:
                raise InvalidInput(f"{path} has no line {mark}; take the list of bert-base-uncased")
        return cls(vocabulary=vocabulary, length=length)

    @cached_property
    def hash(self) -> str:
        """What tells this tokenizer from others."""
        return digest([self.vocabulary, self.length])

    def encode(self, texts: Sequence[str]) -> Tokens:
        """Token ids and mask, each ``[B, L]``.

        Raises:
            InvalidInput: ``texts`` is one bare string.
        """
        if isinstance(texts, str):
            raise InvalidInput(f"texts={texts!r} is one string; write [{texts!r}]")
        pad = self.vocabulary["[PAD]"]
        ids = torch.full((len(texts), self.length), pad, dtype=torch.int64)
        mask = torch.zeros_like(ids)
        for row, seen, text in zip(ids, mask, texts, strict=True):
            pieces = [piece for word in _words(text) for piece in self._pieces(word)]
            marked = ["[CLS]", *pieces[: self.length - 2], "[SEP]"]
            row[: len(marked)] = torch.tensor([self.vocabulary[piece] for piece in marked])
            seen[: len(marked)] = 1
        return Tokens(ids, mask)

    def _pieces(self, word: str) -> list[str]:
        """The longest known beginning, again and again; one unknown part makes all unknown."""
        pieces: list[str] = []
        start = 0
        while start < len(word):
            piece = next(self._known(word, start), None)
            if piece is None or len(word) > _LONGEST:
                return ["[UNK]"]
            pieces.append(piece)
            start += len(piece.removeprefix("##") if start else piece)
        return pieces

    def _known(self, word: str, start: int) -> Iterator[str]:
        inside = "##" if start else ""
        pieces = (inside + word[start:end] for end in range(len(word), start, -1))
        return (piece for piece in pieces if piece in self.vocabulary)


def _words(text: str) -> list[str]:
    """Lower-case words without accents; each punctuation mark and ideograph is one of its own."""
    shown = (_shown(c) for c in text)
    plain = unicodedata.normalize("NFD", "".join(shown).lower())
    marked = (c for c in plain if unicodedata.category(c) != "Mn")
    return "".join(f" {c} " if _alone(c) else c for c in marked).split()


def _shown(c: str) -> str:
    """A space for white space, nothing for control characters."""
    if c in "\t\n\r" or unicodedata.category(c) == "Zs":
        return " "
    return "" if unicodedata.category(c)[0] == "C" or c == "\ufffd" else c


def _alone(c: str) -> bool:
    return bool(_ALONE.match(c)) or unicodedata.category(c)[0] == "P"
