"""The settings of every attack that replaces words, and the captions side of its search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from torch import nn

from secondlook.attacks.edits import edits
from secondlook.attacks.pairs import Captions, PairAttack
from secondlook.attacks.words.lexicon import Lexicon, Rules
from secondlook.attacks.words.measure import similarity
from secondlook.attacks.words.textside import TextSide
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.models.maskedlm import MaskedLM

_LEGACY_PHRASE = 12


@dataclass(frozen=True, kw_only=True)
class WordSearch(PairAttack):
    """Words for others that a masked language model would write in their place.

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
    def lexicon(self) -> Lexicon:
        """The candidates; those of a caption that was seen before are remembered."""
        model = load(self.mlm) if isinstance(self.mlm, str) else self.mlm
        if not isinstance(model, MaskedLM):
            raise InvalidInput(f"mlm={self.mlm!r} fills no gaps; try scenes:mlm")
        rules = Rules(self.candidates, self.threshold, preceding=self.legacy, loose=self.legacy)
        return Lexicon(model, rules)

    @cached_property
    def reviewer(self) -> Embedder | None:
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
        judge = self.reviewer
        return self.lexicon.model.modules + (judge.modules if judge else ())

    @property
    def phrase(self) -> int:
        """Words in place of one: the published code puts one for each piece."""
        return _LEGACY_PHRASE if self.legacy else 1

    def barred(self, before: Sequence[str], after: Sequence[str]) -> list[bool]:
        """Which of the altered captions are too far from what they stand for."""
        far = [False] * len(before)
        if self.distance:
            far = [edits(*pair) > self.distance for pair in zip(before, after, strict=True)]
        if self.reviewer is not None and self.similarity:
            near = similarity(before, after, self.reviewer)
            far = [no or cosine < self.similarity for no, cosine in zip(far, near, strict=True)]
        return far

    def refuse_victim(self, victims: Sequence[Embedder]) -> None:
        """Holds the judge to being none of those that are attacked.

        Raises:
            InvalidInput: it is one.
        """
        if self.reviewer is not None and self.reviewer.name in {v.name for v in victims}:
            raise InvalidInput(f"judge={self.reviewer.name} is attacked itself; name another one")

    def texts(self, victims: Sequence[Embedder], captions: Captions) -> TextSide:
        """The captions, prepared once for as many searches as a schedule asks for."""
        self.refuse_victim(victims)
        veto = self.barred if self.distance or self.similarity else None
        return TextSide(
            captions, victims, self.lexicon, words=self.words, at_once=self.visit == "every",
            raw=self.legacy, veto=veto,
        )  # fmt: skip
