"""Which changes of a caption leave what it says as it was."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, NamedTuple

from secondlook.attacks.pairs import Preserves
from secondlook.attacks.text.candidates import Candidates, ParsedCaption, parse as likely
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


@cache
def contrasts() -> Mapping[str, frozenset[str]]:
    """For each word those that exclude it: antonyms, other colors, other numbers."""
    table = tomllib.loads(files(__package__).joinpath("contrasts.toml").read_text("utf-8"))
    found: dict[str, frozenset[str]] = {}
    for group in table["groups"]:
        words = frozenset(group.split())
        for word in words:
            found[word] = found.get(word, frozenset()) | words - {word}
    return found


@dataclass(frozen=True, kw_only=True)
class MeaningFilter:
    """Holds changes to saying the same where nobody knows what is true of the image.

    A synonym of the thesaurus may stand for a word. Any other word may where neither excludes the
    other, nor a synonym of one the other, and an encoder finds both captions alike.

    Attributes:
        judge: the encoder; without one synonyms alone may stand.
        similarity: the lowest cosine between both captions.
    """

    judge: Embedder | None = None
    similarity: float = SIMILARITY

    def __call__(self, changes: Sequence[Change]) -> list[bool]:
        """Which of the changes may stand."""
        able = [_synonymous(c) or (self.judge is not None and not _exclude(c)) for c in changes]
        if self.judge is None:
            return able
        asked = [change for change, may in zip(changes, able, strict=True) if may]
        cosines = iter(similarity([c.before for c in asked], [c.after for c in asked], self.judge))
        return [may and next(cosines) >= self.similarity for may in able]


def _synonymous(change: Change) -> bool:
    return change.new in synonyms().get(change.old, ())


def _exclude(change: Change) -> bool:
    """Whether the words exclude each other, or their synonyms do."""
    old, new = ({word, *synonyms().get(word, ())} for word in (change.old, change.new))
    return any(contrasts().get(word, frozenset()) & new for word in old)


class Meanings(NamedTuple):
    """Captions whose options say the same.

    Attributes:
        captions: with the options that are left.
        refused: in how many of them there were options, and none was left.
    """

    captions: list[ParsedCaption]
    refused: int


def same_meaning(
    texts: Sequence[str], knows: Sequence[Preserves], candidates: Candidates | None, rule: MeaningFilter
) -> Meanings:
    """Captions with the changes that leave what they say as it was.

    Args:
        texts: ``C`` captions.
        knows: for each of them who knows what is true of its image; empty where nobody does.
        candidates: what is offered beside synonyms where nobody knows; None offers nothing.
        rule: decides there.
    """
    offered = [_with_synonyms(text) for text in texts]
    if candidates is not None and not knows:
        pairs = zip(offered, likely(texts, candidates), strict=True)
        offered = [own._replace(options=_both(own.options, more.options)) for own, more in pairs]
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
