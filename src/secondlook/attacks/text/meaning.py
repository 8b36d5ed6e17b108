"""Which changes of a caption leave what it says as it was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from secondlook.attacks.pairs import Preserves
from secondlook.attacks.text.candidates import Candidates, ParsedCaption, parse
from secondlook.attacks.text.captions import part, similarity, synonyms
from secondlook.models.base import Embedder

SIMILARITY: Final = 0.9
"""The lowest cosine to the caption as it was, where none is given."""


class Change(NamedTuple):
    """A caption and what is to stand for it.

    Attributes:
        before: the caption as it was.
        after: with one word changed.
        old: that word, in small letters and without the marks around it.
        new: what stands in its place.
    """

    before: str
    after: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class MeaningFilter:
    """Holds changes to saying the same where nobody knows what is true of the image.

    A synonym of the thesaurus may stand for a word, and where there is a judge, if that finds both
    captions alike. An encoder alone is no filter: of the changes that it finds alike most have
    another meaning (``python -m experiments.meaning_filter``).

    Attributes:
        judge: the encoder, if any.
        similarity: the lowest cosine between both captions.
    """

    judge: Embedder | None = None
    similarity: float = SIMILARITY

    def __call__(self, changes: Sequence[Change]) -> list[bool]:
        """Which of the changes may stand."""
        able = [change.new in synonyms().get(change.old, ()) for change in changes]
        if self.judge is None:
            return able
        asked = [change for change, may in zip(changes, able, strict=True) if may]
        cosines = iter(similarity([c.before for c in asked], [c.after for c in asked], self.judge))
        return [may and next(cosines) >= self.similarity for may in able]


class Meanings(NamedTuple):
    """Captions whose options say the same.

    Attributes:
        captions: with the options that are left.
        refused: in how many of them there were options, and none was left.
    """

    captions: list[ParsedCaption]
    refused: int


def same_meaning(texts: Sequence[str], knows: Sequence[Preserves], rule: MeaningFilter) -> Meanings:
    """Captions with the synonyms that leave what they say as it was.

    Args:
        texts: ``C`` captions.
        knows: for each of them who knows what is true of its image; empty where nobody does.
        rule: decides there.
    """
    offered = [_with_synonyms(text) for text in texts]
    rows = [(row, at, new) for row, caption in enumerate(offered) for at, new in caption.all_options]
    changes = [_change(offered[row], at, new) for row, at, new in rows]
    if knows:
        may = [knows[row](change.before, change.after) for (row, _, _), change in zip(rows, changes, strict=True)]
    else:
        may = rule(changes)
    left = {place for place, kept in zip(rows, may, strict=True) if kept}
    captions = [_kept(caption, row, left) for row, caption in enumerate(offered)]
    refused = sum(bool(was.places) and not now.places for was, now in zip(offered, captions, strict=True))
    return Meanings(captions, refused)


def offered_changes(texts: Sequence[str], candidates: Candidates) -> list[Change]:
    """Every change of one word that synonyms and a language model offer; nothing is held back."""
    pairs = zip(map(_with_synonyms, texts), parse(texts, candidates), strict=True)
    offered = [own._replace(options=_both(own.options, more.options)) for own, more in pairs]
    return [_change(caption, at, new) for caption in offered for at, new in caption.all_options]


def _with_synonyms(text: str) -> ParsedCaption:
    words = tuple(text.split())
    bare = ParsedCaption(text, words, ((),) * len(words))
    cores = [part(word).core.lower() for word in words]
    options = (tuple(bare.with_marks(at, new) for new in synonyms().get(core, ())) for at, core in enumerate(cores))
    return bare._replace(options=tuple(options))


def _both(one: Sequence[Sequence[str]], other: Sequence[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(dict.fromkeys((*a, *b))) for a, b in zip(one, other, strict=True))


def _change(caption: ParsedCaption, at: int, new: str) -> Change:
    old, other = part(caption.words[at]).core.lower(), part(new).core.lower()
    return Change(caption.text, caption.put({at: new}), old, other)


def _kept(caption: ParsedCaption, row: int, left: set[tuple[int, int, str]]) -> ParsedCaption:
    return caption._replace(
        options=tuple(tuple(new for new in own if (row, at, new) in left) for at, own in enumerate(caption.options))
    )
