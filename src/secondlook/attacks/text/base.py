"""What every attack that replaces words shares: its settings, and the search of captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from secondlook.attacks.edits import edits
from secondlook.attacks.pairs import Captions, PairAttack, Pairs, Preserves
from secondlook.attacks.text.candidates import CandidateRules, Candidates, ParsedCaption, parse
from secondlook.attacks.text.captions import flat, owners, similarity, text_vectors
from secondlook.attacks.text.meaning import SIMILARITY, MeaningFilter, same_meaning
from secondlook.attacks.text.substitution import (
    AwayFromImage,
    AwayFromItself,
    TextObjective,
    importance_orders,
    substitute,
)
from secondlook.attacks.text.vocabulary import Vocabulary, any_words, whole_words
from secondlook.bounds import Count, Natural
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.models.maskedlm import MaskedLM

TextThreat = Literal["free", "mlm", "meaning-preserving"]
"""Which changes a caption may suffer within the word budget."""
_LEGACY_PHRASE = 12


class CaptionSearch:
    """The captions of a batch: parsed and ranked once, and searched as often as need be.

    Attributes:
        captions: as they were.
        texts: all of them in a row.
        owner: ``[C]``, for each text the row of its image.
        parsed: each with what may stand for its words.
        notices: what the user has to know of captions that cannot be changed.
    """

    def __init__(self, attack: WordSubstitution, victims: Sequence[Embedder], pairs: Pairs) -> None:
        self.captions, self.texts, self.owner = pairs.captions, flat(pairs.captions), owners(pairs.captions)
        self._attack, self._victims = attack, tuple(victims)
        self._at_once, self._raw = attack.visit == "every" or attack.text != "mlm", attack.legacy
        self._forbidden = attack.forbidden if attack.distance or attack.similarity else None
        self.parsed, self.notices = attack.parsed(self.texts, _truths(pairs))
        self._vocabulary = attack.vocabulary(victims) if attack.text == "free" else None
        self._places = [caption.words_with_letters if self._vocabulary else caption.places for caption in self.parsed]

    @cached_property
    def vectors(self) -> tuple[Tensor, ...]:
        """Of each embedder the unit vectors ``[C, D]`` of the captions as they were."""
        return text_vectors(self._victims, self.texts)

    @cached_property
    def _origins(self) -> tuple[Tensor, ...]:
        return text_vectors(self._victims, self.texts, raw=True) if self._raw else self.vectors

    @cached_property
    def _orders(self) -> Sequence[Sequence[int]]:
        if self._at_once:
            return self._places
        return importance_orders(self.parsed, self._places, self._victims, self.vectors)

    def read(self, captions: Captions) -> tuple[Tensor, ...]:
        """Of each embedder the unit vectors ``[C, D]`` of captions that stand for these."""
        return text_vectors(self._victims, flat(captions))

    def away_from(self, images: Sequence[Tensor]) -> Captions:
        """Captions away from their images, whose unit vectors ``[B, D]`` are given by embedder."""
        own = [vectors[self.owner.to(vectors.device)] for vectors in images]
        return self._search(AwayFromImage(own), self.vectors, self._orders, raw=False)

    def away_from_themselves(self) -> Captions:
        """Captions away from what they were, whatever their images."""
        places = self._orders
        if self._raw and not self._at_once:
            places = importance_orders(self.parsed, self._places, self._victims, self._origins)
        return self._search(AwayFromItself(self._origins), self._origins, places, raw=self._raw)

    def _search(
        self, objective: TextObjective, vectors: Sequence[Tensor], places: Sequence[Sequence[int]], raw: bool
    ) -> Captions:
        words = self._vocabulary
        found = iter(
            substitute(
                self.parsed,
                places,
                self._attack.words,
                lambda texts: text_vectors(self._victims, texts, raw=raw),
                objective,
                objective(vectors, torch.arange(len(self.texts))),
                at_once=self._at_once,
                forbidden=self._forbidden,
                propose=partial(words.propose, objective=objective, top=self._attack.shortlist) if words else None,
            )
        )
        return tuple(tuple(next(found) for _ in row) for row in self.captions)


def _truths(pairs: Pairs) -> tuple[Preserves, ...]:
    """Who knows what is true of each caption's image, one for each caption."""
    rows = zip(pairs.preserves, pairs.captions, strict=True) if pairs.preserves else ()
    return tuple(knows for knows, texts in rows for _ in texts)


@dataclass(frozen=True, kw_only=True)
class WordSubstitution(PairAttack):
    """Replaces words by others; ``text`` says by which.

    Attributes:
        text: what a caption may suffer. ``free``: any word of the vocabulary of ``mlm`` at any
            place. ``mlm``: what that model would write there, as published. ``meaning-preserving``:
            synonyms, held against the truth of the image where it is known, and else against
            ``judge`` where there is one.
        mlm: a masked language model, or its name: ``scenes:mlm``, ``hf:google-bert/bert-base-uncased``.
        candidates: its best tokens at each place, k.
        threshold: the lowest score of a candidate, as the network gives it; 0 takes all k.
        visit: ``importance`` takes the words one by one, the most important first, and the first
            that helps; ``every`` tries all of them and takes the best, as ``free`` and
            ``meaning-preserving`` always do.
        shortlist: of ``free``, how many changes of a caption are read: those of which the gradient
            of the word vectors promises most.
        legacy: as published, defects and all: candidates come from the token before the word,
            marks are candidates too, several words can take the place of one, and without an
            image, importance compares a raw vector with a unit vector.
        judge: an embedder, or its name, that is no victim, to hold candidates to ``similarity``.
        similarity: the lowest cosine by ``judge`` between a caption and its altered self; under
            ``meaning-preserving`` 0 takes 0.9.
        distance: the most characters that may change in a caption; 0 does not count them.

    Raises:
        InvalidInput: an unknown threat, a number of candidates, changes or words below one, a
            similarity without a judge, a judge that is a victim, ``legacy`` of what was never
            published, or a model that is none of its kind.
    """

    text: TextThreat = "mlm"
    mlm: Any = "scenes:mlm"
    candidates: Count = 10
    threshold: float = 0.3
    visit: Literal["importance", "every"] = "importance"
    shortlist: Count = 64
    legacy: bool = False
    judge: Any = ""
    similarity: float = 0.0
    distance: Natural = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.legacy and self.text != "mlm":
            raise InvalidInput(f"legacy=true is what was published, and text={self.text!r} was not; write text='mlm'")
        if self.similarity and not self.judge:
            raise InvalidInput(f"similarity={self.similarity:g} needs a judge; name an embedder")

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

    def parsed(self, texts: Sequence[str], knows: Sequence[Preserves]) -> tuple[list[ParsedCaption], tuple[str, ...]]:
        """Captions with what may stand for their words, and what is to be said of them.

        Args:
            texts: ``C`` captions.
            knows: for each who knows what is true of its image; empty where nobody does.
        """
        refused = 0
        if self.text == "free":
            found = any_words(texts)
            stuck = sum(not caption.words_with_letters for caption in found)
        else:
            if self.text == "mlm":
                found = parse(texts, self.proposals)
            else:
                rule = MeaningFilter(judge=self.judge_model, similarity=self.similarity or SIMILARITY)
                found, refused = same_meaning(texts, knows, rule)
            stuck = sum(not caption.places for caption in found)
        of, notices = len(texts), []
        if stuck:
            notices.append(f"{stuck} of {of} captions stay as they are: nothing could stand for their words")
        if refused:
            notices.append(
                f"in {refused} of {of} captions every word that was offered changes what they say, and was refused"
            )
        return found, tuple(notices)

    def vocabulary(self, victims: Sequence[Embedder]) -> Vocabulary:
        """All words of the language model, as the victims look them up."""
        model = self.proposals.model
        return Vocabulary(whole_words(model), victims, model.name)

    def texts(self, victims: Sequence[Embedder], pairs: Pairs) -> CaptionSearch:
        """The captions, prepared once for as many searches as a schedule asks for."""
        self.refuse_victim(victims)
        return CaptionSearch(self, victims, pairs)
