"""What a masked language model would write in place of each word of a caption."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.attacks.text.captions import part, stop_words
from secondlook.models.maskedlm import MaskedLM, Pieces, Span

Options = tuple[tuple[str, ...], ...]
"""For each word of a text the words that may stand in its place."""

_CHUNK: Final = 32
_PIECES: Final = 12
_EACH: Final = 4
_PHRASES: Final = 24


class CandidateRules(NamedTuple):
    """How candidates are read from a model's scores.

    Attributes:
        top: the best tokens at a place, k.
        threshold: the lowest score of a token, as the network gives it; 0 takes all. Words of
            several pieces are ranked, and no piece of theirs is held to it.
        preceding: take the scores of the token before the word, as the published code does.
        loose: take what the published code takes: marks like ``[CLS]``, and several words in place
            of a word of several pieces.
    """

    top: int = 10
    threshold: float = 0.3
    preceding: bool = False
    loose: bool = False


class Candidates:
    """Candidates by one pass per text through a masked language model, each text once.

    The text is shown as it is: what the model would also accept, and not what it would fill in.
    After BERT-Attack (arXiv 2004.09984, sections 3.2 and 3.3).

    Attributes:
        model: what is asked.
        rules: how its answers are read.
        texts: how many texts are remembered.
    """

    def __init__(self, model: MaskedLM, rules: CandidateRules, texts: int = 50_000) -> None:
        self.model, self.rules, self.texts = model, rules, texts
        self._known: dict[str, Options] = {}
        self._spelled: dict[int, str] = {}

    def options(self, texts: Sequence[str]) -> list[Options]:
        """For each text, for each of its words, the candidates, best first."""
        unknown = [text for text in dict.fromkeys(texts) if text not in self._known]
        found = dict(self._asked(unknown))
        answers = [found[text] if text in found else self._known[text] for text in texts]
        if len(self._known) + len(found) > self.texts:
            self._known.clear()
        self._known.update(found)
        return answers

    def _asked(self, texts: Sequence[str]) -> Iterable[tuple[str, Options]]:
        # Texts of a like length side by side waste the least on padding.
        ordered = sorted(texts, key=len)
        for start in range(0, len(ordered), _CHUNK):
            chunk = ordered[start : start + _CHUNK]
            yield from zip(chunk, self._read(self.model.tokenize(chunk)), strict=True)

    def _read(self, pieces: Pieces) -> list[Options]:
        scores = self.model.logits(pieces.ids, pieces.mask)
        values, ids = (part.cpu() for part in scores.topk(min(self.rules.top, scores.shape[-1])))
        spans = [[self._place(span) for span in row] for row in pieces.spans]
        phrases = self._phrases(ids, spans)
        return [
            tuple(
                self._kept(self._single(ids[row, at], values[row, at]), word)
                if len(at) == 1
                else self._kept(phrases.get((row, at), ()), word)
                for word, at in zip(words, spans[row], strict=True)
            )
            for row, words in enumerate(pieces.words)
        ]

    def _place(self, span: Span) -> range:
        shift = int(self.rules.preceding and span.end > span.start)
        return range(span.start - shift, span.end - shift)

    def _single(self, ids: Tensor, values: Tensor) -> Iterable[str]:
        for number, value in zip(ids[0].tolist(), values[0].tolist(), strict=True):
            if self.rules.threshold and value < self.rules.threshold:
                return
            if self.rules.loose or self.model.word_starts[number]:
                yield self._phrase((number,))

    def _phrases(self, ids: Tensor, spans: Sequence[Sequence[range]]) -> dict[tuple[int, range], tuple[str, ...]]:
        """Candidates for words of several pieces, ranked by how likely the model finds them."""
        combined = {
            (row, at): self._combined(ids[row, list(at)])
            for row, places in enumerate(spans)
            for at in places
            if len(at) > 1
        }
        ranks = _ranks(self.model, [ids for phrases in combined.values() for ids in phrases])
        return {
            place: tuple(self._phrase(phrase) for phrase in sorted(phrases, key=ranks.__getitem__))
            for place, phrases in combined.items()
        }

    def _combined(self, ids: Tensor) -> list[tuple[int, ...]]:
        choices = [row[:_EACH] for row in ids[:_PIECES].tolist()]
        if self.rules.loose:
            return _first(product(*choices))
        whole = self.model.word_starts
        starts = [number for number in ids[0].tolist() if whole[number]]
        choices[0] = [number for number in choices[0] if whole[number]]
        choices[1:] = [[n for n in row if self._goes_on(n)] for row in choices[1:]]
        return [*_first(product(*choices)), *((number,) for number in starts)]

    def _goes_on(self, number: int) -> bool:
        return not self.model.word_starts[number] and number not in self.model.special_ids

    def _phrase(self, ids: Sequence[int]) -> str:
        """Pieces as text: those that go on with a word are joined to what is before them."""
        text = ""
        for number in ids:
            piece = self._spell(number)
            joined = text and self._goes_on(number)
            text += piece.removeprefix("##") if joined else f" {piece}"
        return text.strip()

    def _spell(self, number: int) -> str:
        if number not in self._spelled:
            self._spelled[number] = self.model.detokenize([number])
        return self._spelled[number]

    def _kept(self, candidates: Iterable[str], word: str) -> tuple[str, ...]:
        if word.lower() in stop_words():
            return ()
        kept = dict.fromkeys(c for c in candidates if self._allowed(c, word))
        return tuple(kept)

    def _allowed(self, candidate: str, word: str) -> bool:
        if "##" in candidate or candidate == word or candidate.lower() in stop_words():
            return False
        if self.rules.loose:
            return True
        plain = len(candidate.split()) == 1 and part(candidate).core == candidate
        return plain and candidate.lower() != word.lower()


def _first(phrases: Iterable[tuple[int, ...]]) -> list[tuple[int, ...]]:
    return [phrase for phrase, _ in zip(phrases, range(_PHRASES), strict=False)]


def _ranks(model: MaskedLM, phrases: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], float]:
    """The model's mean surprise at each phrase by itself; all of one length go in one batch."""
    ranks: dict[tuple[int, ...], float] = {}
    different = list(dict.fromkeys(phrases))
    for length in sorted({len(phrase) for phrase in different}):
        alike = [phrase for phrase in different if len(phrase) == length]
        for start in range(0, len(alike), 8 * _CHUNK):
            chunk = alike[start : start + 8 * _CHUNK]
            ids = torch.tensor(chunk)
            scores = model.logits(ids).cpu()
            surprise = F.cross_entropy(scores.transpose(1, 2), ids, reduction="none").mean(1)
            ranks.update(zip(chunk, surprise.tolist(), strict=True))
    return ranks


class ParsedCaption(NamedTuple):
    """A caption that words can be put into.

    Attributes:
        text: the caption as it was.
        words: as white space parts them.
        options: for each word what may stand in its place, marks around it and all.
    """

    text: str
    words: tuple[str, ...]
    options: Options

    def put(self, changes: dict[int, str]) -> str:
        """The caption with some words changed; where none is, the very same caption."""
        if not changes:
            return self.text
        return " ".join(changes.get(at, word) for at, word in enumerate(self.words))

    def with_marks(self, at: int, word: str) -> str:
        """Another word with the marks of the one at a place."""
        head, _, tail = part(self.words[at])
        return f"{head}{word}{tail}"

    @property
    def all_options(self) -> list[tuple[int, str]]:
        """Every place with every word that may stand there."""
        return [(at, new) for at, options in enumerate(self.options) for new in options]

    @property
    def words_with_letters(self) -> tuple[int, ...]:
        """The words that are more than marks."""
        return tuple(at for at, word in enumerate(self.words) if part(word).core)

    @property
    def places(self) -> tuple[int, ...]:
        """The words that something else could stand for."""
        return tuple(at for at, options in enumerate(self.options) if options)


def parse(texts: Sequence[str], candidates: Candidates) -> list[ParsedCaption]:
    """Takes captions apart; the language model reads them without punctuation.

    Under rules of the published code it reads them as they are, since that expects captions
    without punctuation.
    """
    rows = [text.split() for text in texts]
    if candidates.rules.loose:
        options = candidates.options([" ".join(words) for words in rows])
        return [ParsedCaption(*found) for found in zip(texts, map(tuple, rows), options, strict=True)]
    parts = [[part(word) for word in words] for words in rows]
    plain = [" ".join(p.core or p.head for p in row) for row in parts]
    read = candidates.options(plain)
    return [
        ParsedCaption(
            text,
            tuple(words),
            tuple(
                tuple(f"{p.head}{option}{p.tail}" for option in options) if p.core else ()
                for p, options in zip(row, found, strict=True)
            ),
        )
        for text, words, row, found in zip(texts, rows, parts, read, strict=True)
    ]
