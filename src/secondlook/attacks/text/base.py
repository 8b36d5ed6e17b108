"""What every attack that replaces words shares: its settings, and the search of captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor, nn

from secondlook.attacks.edits import edits
from secondlook.attacks.pairs import Captions, PairAttack
from secondlook.attacks.text.candidates import CandidateRules, Candidates, parse
from secondlook.attacks.text.captions import flat, owners, similarity, text_vectors
from secondlook.attacks.text.substitution import (
    AwayFromImage,
    AwayFromItself,
    Forbidden,
    TextObjective,
    importance_orders,
    substitute,
)
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.models.maskedlm import MaskedLM

_LEGACY_PHRASE = 12


class CaptionSearch:
    """The captions of a batch: parsed and ranked once, and searched as often as need be.

    Attributes:
        captions: as they were.
        texts: all of them in a row.
        owner: ``[C]``, for each text the row of its image.
    """

    def __init__(
        self,
        captions: Captions,
        victims: Sequence[Embedder],
        candidates: Candidates,
        *,
        words: int,
        at_once: bool,
        raw: bool,
        forbidden: Forbidden | None,
    ) -> None:
        self.captions, self.texts, self.owner = captions, flat(captions), owners(captions)
        self._victims, self._forbidden = tuple(victims), forbidden
        self._words, self._at_once, self._raw = words, at_once, raw
        self._parsed = parse(self.texts, candidates)

    @cached_property
    def vectors(self) -> tuple[Tensor, ...]:
        """Of each embedder the unit vectors ``[C, D]`` of the captions as they were."""
        return text_vectors(self._victims, self.texts)

    @cached_property
    def _origins(self) -> tuple[Tensor, ...]:
        return text_vectors(self._victims, self.texts, raw=True) if self._raw else self.vectors

    @cached_property
    def _orders(self) -> Sequence[Sequence[int]]:
        return self._ranked(self.vectors)

    @property
    def notices(self) -> tuple[str, ...]:
        """How many captions no word can be put into."""
        stuck = sum(not caption.places for caption in self._parsed)
        if not stuck:
            return ()
        of = len(self._parsed)
        return (f"{stuck} of {of} captions stay as they are: nothing could stand for their words",)

    def read(self, captions: Captions) -> tuple[Tensor, ...]:
        """Of each embedder the unit vectors ``[C, D]`` of captions that stand for these."""
        return text_vectors(self._victims, flat(captions))

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
            return [caption.places for caption in self._parsed]
        return importance_orders(self._parsed, self._victims, origins)

    def _search(
        self, objective: TextObjective, vectors: Sequence[Tensor], places: Sequence[Sequence[int]], raw: bool
    ) -> Captions:
        found = iter(
            substitute(
                self._parsed,
                places,
                self._words,
                lambda texts: text_vectors(self._victims, texts, raw=raw),
                objective,
                objective(vectors, torch.arange(len(self.texts))),
                at_once=self._at_once,
                forbidden=self._forbidden,
            )
        )
        return tuple(tuple(next(found) for _ in row) for row in self.captions)


@dataclass(frozen=True, kw_only=True)
class WordSubstitution(PairAttack):
    """Replaces words by others that a masked language model would write in their place.

    Attributes:
        mlm: that model, or its name: ``scenes:mlm``, ``hf:google-bert/bert-base-uncased``.
        candidates: its best tokens at each place, k.
        threshold: the lowest score of a candidate, as the network gives it; 0 takes all k.
        visit: ``importance`` takes the words one by one, the most important first, and the first
            that helps; ``every`` tries all of them and takes the best.
        legacy: as published, defects and all: candidates come from the token before the word,
            marks are candidates too, several words can take the place of one, and without an
            image, importance compares a raw vector with a unit vector.
        judge: an embedder, or its name, that is no victim, to hold candidates to ``similarity``.
        similarity: the lowest cosine by ``judge`` between a caption and its altered self.
        distance: the most characters that may change in a caption; 0 does not count them.

    Raises:
        InvalidInput: a number of candidates or words below one, a similarity without a judge, a
            judge that is a victim, or a model that is none of its kind.
    """

    mlm: Any = "scenes:mlm"
    candidates: int = 10
    threshold: float = 0.3
    visit: Literal["importance", "every"] = "importance"
    legacy: bool = False
    judge: Any = ""
    similarity: float = 0.0
    distance: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.candidates < 1:
            raise InvalidInput(f"candidates={self.candidates}; write 1 or more")
        if self.similarity and not self.judge:
            raise InvalidInput(f"similarity={self.similarity:g} needs a judge; name an embedder")
        if self.visit not in ("importance", "every"):
            raise InvalidInput(f"visit={self.visit!r}; write 'importance' or 'every'")

    @cached_property
    def proposals(self) -> Candidates:
        """The candidates; those of a caption that was seen before are remembered."""
        model = load(self.mlm) if isinstance(self.mlm, str) else self.mlm
        if not isinstance(model, MaskedLM):
            raise InvalidInput(f"mlm={self.mlm!r} fills no gaps; try scenes:mlm")
        rules = CandidateRules(self.candidates, self.threshold, preceding=self.legacy, loose=self.legacy)
        return Candidates(model, rules)

    @cached_property
    def judge_model(self) -> Embedder | None:
        """Who judges whether a caption still says the same."""
        if not self.judge:
            return None
        judge = load(self.judge) if isinstance(self.judge, str) else self.judge
        if not isinstance(judge, Embedder):
            raise InvalidInput(f"judge={self.judge!r} embeds no texts; try scenes:clip-vit")
        return judge

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The networks of language model and judge."""
        judge = self.judge_model
        return self.proposals.model.modules + (judge.modules if judge else ())

    @property
    def phrase(self) -> int:
        """Words in place of one: the published code puts one for each piece."""
        return _LEGACY_PHRASE if self.legacy else 1

    def forbidden(self, before: Sequence[str], after: Sequence[str]) -> list[bool]:
        """Which of the altered captions are too far from what they stand for."""
        far = [False] * len(before)
        if self.distance:
            far = [edits(*pair) > self.distance for pair in zip(before, after, strict=True)]
        if self.judge_model is not None and self.similarity:
            near = similarity(before, after, self.judge_model)
            far = [no or cosine < self.similarity for no, cosine in zip(far, near, strict=True)]
        return far

    def refuse_victim(self, victims: Sequence[Embedder]) -> None:
        """Holds the judge to being none of those that are attacked.

        Raises:
            InvalidInput: it is one.
        """
        if self.judge_model is not None and self.judge_model.name in {v.name for v in victims}:
            raise InvalidInput(f"judge={self.judge_model.name} is attacked itself; name another one")

    def texts(self, victims: Sequence[Embedder], captions: Captions) -> CaptionSearch:
        """The captions, prepared once for as many searches as a schedule asks for."""
        self.refuse_victim(victims)
        forbidden = self.forbidden if self.distance or self.similarity else None
        return CaptionSearch(
            captions,
            victims,
            self.proposals,
            words=self.words,
            at_once=self.visit == "every",
            raw=self.legacy,
            forbidden=forbidden,
        )
