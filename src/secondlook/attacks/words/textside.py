"""The captions of a batch, taken apart and ranked once, and searched as often as need be."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from secondlook.attacks.pairs import Captions
from secondlook.attacks.words.drafts import drafts
from secondlook.attacks.words.guides import AwayFromImage, AwayFromItself, Guide
from secondlook.attacks.words.importance import orders
from secondlook.attacks.words.lexicon import Lexicon
from secondlook.attacks.words.reader import Reader, flat, owners
from secondlook.attacks.words.substitution import Veto, substitute
from secondlook.models.base import Embedder


class TextSide:
    """Searches the captions of many images at once.

    Attributes:
        captions: as they were.
        texts: all of them in a row.
        owner: ``[C]``, for each text the row of its image.
    """

    def __init__(
        self, captions: Captions, victims: Sequence[Embedder], lexicon: Lexicon, *,
        words: int, at_once: bool, raw: bool, veto: Veto | None,
    ) -> None:  # fmt: skip
        self.captions, self.texts, self.owner = captions, flat(captions), owners(captions)
        self._reader, self._veto = Reader(victims), veto
        self._words, self._at_once, self._raw = words, at_once, raw
        self._drafts = drafts(self.texts, lexicon)

    @cached_property
    def vectors(self) -> tuple[Tensor, ...]:
        """Of each embedder the unit vectors ``[C, D]`` of the captions as they were."""
        return self._reader.read(self.texts, raw=False)

    @cached_property
    def _origins(self) -> tuple[Tensor, ...]:
        return self._reader.read(self.texts, raw=True) if self._raw else self.vectors

    @cached_property
    def _orders(self) -> Sequence[Sequence[int]]:
        return self._ranked(self.vectors)

    @property
    def notices(self) -> tuple[str, ...]:
        """How many captions no word can be put into."""
        stuck = sum(not draft.places for draft in self._drafts)
        if not stuck:
            return ()
        of = len(self._drafts)
        return (f"{stuck} of {of} captions stay as they are: nothing could stand for their words",)

    def read(self, captions: Captions) -> tuple[Tensor, ...]:
        """Of each embedder the unit vectors ``[C, D]`` of captions that stand for these."""
        return self._reader.read(flat(captions), raw=False)

    def away_from(self, images: Sequence[Tensor]) -> Captions:
        """Captions away from their images, whose unit vectors ``[B, D]`` are given by embedder."""
        own = [vectors[self.owner.to(vectors.device)] for vectors in images]
        return self._search(AwayFromImage(own), self.vectors, self._orders, raw=False)

    def away_from_themselves(self) -> Captions:
        """Captions away from what they were, whatever their images."""
        places = self._ranked(self._origins) if self._raw else self._orders
        return self._search(AwayFromItself(self._origins), self._origins, places, raw=self._raw)

    def _ranked(self, origins: Sequence[Tensor]) -> Sequence[Sequence[int]]:
        if self._at_once:
            return [draft.places for draft in self._drafts]
        return orders(self._drafts, self._reader, origins)

    def _search(
        self, guide: Guide, vectors: Sequence[Tensor], places: Sequence[Sequence[int]], raw: bool
    ) -> Captions:
        start = guide(vectors, torch.arange(len(self.texts)))
        found = iter(substitute(
            self._drafts, places, self._words, lambda texts: self._reader.read(texts, raw),
            guide, start, at_once=self._at_once, veto=self._veto,
        ))  # fmt: skip
        return tuple(tuple(next(found) for _ in row) for row in self.captions)
