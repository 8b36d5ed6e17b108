"""CLIP's byte-pair tokenizer, from its published list of merges (arXiv 2103.00020, section 2.4)."""

from __future__ import annotations

import gzip
import html
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.registry import digest

VOCABULARY: Final = "bpe_simple_vocab_16e6.txt.gz"
LENGTH: Final = 77
"""Tokens in a row, both marks included."""
_MERGES: Final = 48894
_WORD: Final = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")
_STRAIGHT: Final = str.maketrans("‘’“”", "''\"\"")


class BytePairTokenizer:
    """Texts to CLIP's tokens: start, pieces of words, end, zeros.

    Mis-decoded text is not repaired, as the reference does (with ftfy); curly quotes are straight.
    A text that is too long keeps its end mark, so that it is still pooled where it ends. Marks that
    are written out in a text are read as plain characters.
    """

    def __init__(self, merges: Sequence[tuple[str, str]]) -> None:
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        alphabet = list(_byte_characters().values())
        pieces = [*alphabet, *(c + "</w>" for c in alphabet), *map("".join, merges)]
        self.numbers = {piece: number for number, piece in enumerate(pieces)}
        self.start, self.end = len(pieces), len(pieces) + 1

    @classmethod
    def read(cls, path: Path) -> BytePairTokenizer:
        """The tokenizer of the published file.

        Raises:
            InvalidInput: the file is damaged, or another one.
        """
        try:
            lines = gzip.decompress(path.read_bytes()).decode().split("\n")[1 : _MERGES + 1]
            pairs = [(left, right) for left, right in map(str.split, lines)]
        except (OSError, EOFError, ValueError) as error:
            raise InvalidInput(f"{path} is no gzipped list of merges: {error}; fetch it") from error
        if len(pairs) < _MERGES:
            raise InvalidInput(f"{path} has {len(pairs)} merges, not {_MERGES}; fetch it again")
        return cls(pairs)

    @cached_property
    def hash(self) -> str:
        """What tells this tokenizer from others."""
        return digest([*self.numbers, LENGTH])

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Token ids ``[B, 77]``.

        Raises:
            InvalidInput: ``texts`` is one bare string.
        """
        if isinstance(texts, str):
            raise InvalidInput(f"texts={texts!r} is one string; write [{texts!r}]")
        rows = torch.zeros(len(texts), LENGTH, dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            ids = [self.start, *list(self._numbers(text))[: LENGTH - 2], self.end]
            row[: len(ids)] = torch.tensor(ids)
        return rows

    def _numbers(self, text: str) -> Iterator[int]:
        for word in _words(_cleaned(text)):
            letters = [self._letters[byte] for byte in word.encode()]
            yield from (self.numbers[piece] for piece in self._merged(letters))

    @cached_property
    def _letters(self) -> dict[int, str]:
        return _byte_characters()

    def _merged(self, letters: list[str]) -> list[str]:
        """The pieces of a word: the pair that was merged first in training merges first here."""
        pieces = [*letters[:-1], letters[-1] + "</w>"]
        while len(pieces) > 1:
            pairs = zip(pieces, pieces[1:], strict=False)
            best = min(pairs, key=lambda pair: self.ranks.get(pair, len(self.ranks)))
            if best not in self.ranks:
                break
            pieces = list(_joined(pieces, best))
        return pieces


def _joined(pieces: Iterable[str], best: tuple[str, str]) -> Iterator[str]:
    held = ""
    for piece in pieces:
        if (held, piece) == best:
            yield held + piece
            held = ""
            continue
        if held:
            yield held
        held = piece
    if held:
        yield held


def _cleaned(text: str) -> str:
    text = html.unescape(html.unescape(unicodedata.normalize("NFC", text)))
    return " ".join(text.translate(_STRAIGHT).lower().split())


def _words(text: str) -> Iterator[str]:
    """Runs of letters, single digits and runs of the rest, separated by Unicode's categories."""
    plain = {"L": "x", "N": "0"}
    shadow = [c if c.isascii() else plain.get(unicodedata.category(c)[0], ".") for c in text]
    for found in _WORD.finditer("".join(shadow)):
        yield text[found.start() : found.end()]


def _byte_characters() -> dict[int, str]:
    """A printable character for each byte, in the order of their numbers in the vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    shown = {byte: chr(byte) for byte in printable}
    return shown | {byte: chr(256 + place) for place, byte in enumerate(others)}
