"""Language models that fill gaps: what else could stand at a place in a text."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.ledger import tally
from secondlook.models.base import Model
from secondlook.models.identity import TEXTS, Answer


class Span(NamedTuple):
    """The places ``start, ..., end - 1`` of a row of tokens; none where both are the same."""

    start: int
    end: int


class Pieces(NamedTuple):
    """Texts as rows of tokens, and where in them their words are.

    Attributes:
        ids: token numbers ``[B, L]``, marks of beginning and end among them.
        mask: ``[B, L]``, 1 at tokens and 0 at padding.
        words: of each text, its words as white space parts them.
        spans: of each word its tokens, as places in its row of ``ids``, so that marks at the
            beginning are counted; empty where a word was cut off.
    """

    ids: Tensor
    mask: Tensor
    words: tuple[tuple[str, ...], ...]
    spans: tuple[tuple[Span, ...], ...]


class Piece(NamedTuple):
    """A token by itself, with the characters of the text that it stands for."""

    id: int
    start: int
    end: int


class MaskedLM(Model):
    """Scores for every place of a text; a subclass writes the tokenizer and the network.

    Attributes:
        mask_id: the token that stands for a word to be filled in.
        pad_id: the token that fills a row up.
        special_ids: tokens that are no words: mask, padding, unknown, and the marks of both ends.
        word_starts: ``[V]``, whether a token is a whole word or begins one, where it stands behind
            another word.
    """

    mask_id: int
    pad_id: int
    special_ids: frozenset[int]
    word_starts: Tensor

    @abstractmethod
    def split(self, text: str) -> Sequence[Piece]:
        """The tokens of a text; marks stand for no characters: their start is their end."""

    @abstractmethod
    def detokenize(self, ids: Sequence[int]) -> str:
        """The text of tokens in a row, as one word where they are pieces of one."""

    @abstractmethod
    def fill(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Scores ``[B, L, V]`` at each place of ``ids`` ``[B, L]``."""

    def probe_answers(self) -> Sequence[Answer]:
        return (*super().probe_answers(), self._scored)

    def _scored(self, _: Tensor) -> Tensor:
        pieces = self.tokenize(TEXTS)
        return self.logits(pieces.ids, pieces.mask)

    def tokenize(self, texts: Sequence[str]) -> Pieces:
        """Texts to tokens, with the way back from words to them.

        Raises:
            InvalidInput: ``texts`` is one bare string, there is none, or one has no word.
        """
        if isinstance(texts, str) or not texts or not all(text.split() for text in texts):
            raise InvalidInput(f"{texts!r} must be a list of texts with a word in each")
        rows = [self.split(text) for text in texts]
        longest = max(map(len, rows))
        ids = [[p.id for p in row] + [self.pad_id] * (longest - len(row)) for row in rows]
        mask = [[1] * len(row) + [0] * (longest - len(row)) for row in rows]
        return Pieces(
            torch.tensor(ids),
            torch.tensor(mask),
            words=tuple(tuple(text.split()) for text in texts),
            spans=tuple(_spans(text, row) for text, row in zip(texts, rows, strict=True)),
        )

    @torch.no_grad()
    def logits(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Scores ``[B, L, V]`` in fp32 of what could stand at each place of ``ids`` ``[B, L]``.

        Args:
            ids: token numbers, with :attr:`mask_id` wherever nothing is to be read.
            mask: ``[B, L]``, 1 at tokens and 0 at padding; None has none of it.

        Raises:
            InvalidInput: ``ids`` are not whole numbers ``[B, L]``, or none.
        """
        if ids.dim() != 2 or not ids.numel() or ids.is_floating_point():
            raise InvalidInput(f"{self.name} reads whole numbers [B, L], not {tuple(ids.shape)}")
        mask = torch.ones_like(ids) if mask is None else mask
        return self.fill(tally(self.name, ids), mask).float()


def _spans(text: str, row: Sequence[Piece]) -> tuple[Span, ...]:
    """The places of each word's tokens in a row, by the characters that both share."""
    found = []
    for word in re.finditer(r"\S+", text):
        inside = [
            place
            for place, piece in enumerate(row)
            if piece.start < word.end() and piece.end > word.start() and piece.end > piece.start
        ]
        found.append(Span(inside[0], inside[-1] + 1) if inside else Span(0, 0))
    return tuple(found)
