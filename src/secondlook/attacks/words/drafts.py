"""Captions taken apart: what stands at each word, and what else could."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from secondlook.attacks.words.lexicon import Lexicon, Options
from secondlook.attacks.words.vocabulary import part


class Draft(NamedTuple):
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

    @property
    def places(self) -> tuple[int, ...]:
        """The words that something else could stand for."""
        return tuple(at for at, options in enumerate(self.options) if options)


def drafts(texts: Sequence[str], lexicon: Lexicon) -> list[Draft]:
    """Takes captions apart; the language model reads them without punctuation.

    Under rules of the published code it reads them as they are, since that expects captions
    without punctuation.
    """
    rows = [text.split() for text in texts]
    if lexicon.rules.loose:
        options = lexicon.options([" ".join(words) for words in rows])
        return [Draft(*found) for found in zip(texts, map(tuple, rows), options, strict=True)]
    parts = [[part(word) for word in words] for words in rows]
    plain = [" ".join(p.core or p.head for p in row) for row in parts]
    read = lexicon.options(plain)
    return [
        Draft(text, tuple(words), tuple(
            tuple(f"{p.head}{option}{p.tail}" for option in options) if p.core else ()
            for p, options in zip(row, found, strict=True)
        ))
        for text, words, row, found in zip(texts, rows, parts, read, strict=True)
    ]  # fmt: skip
