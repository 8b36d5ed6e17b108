"""The same claims in other words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from secondlook.metrics.ngrams import words
from secondlook.scenes.captions import PLACE_PHRASES, RELATION_PHRASES, SYNONYMS

_TRIES: Final = 4
"""Draws for each wording that is asked for: short sentences have few, and draw many twice."""


def _alike() -> dict[tuple[str, ...], tuple[str, ...]]:
    """Every phrase of the grammar that has others of its meaning, and all of them."""
    tables = (SYNONYMS, PLACE_PHRASES, RELATION_PHRASES)
    several = [phrases for table in tables for phrases in table.values() if len(phrases) > 1]
    return {tuple(phrase.split()): phrases for phrases in several for phrase in phrases}


_ALIKE: Final = _alike()
_LONGEST: Final = max(map(len, _ALIKE))


def reworded(text: str, rng: np.random.Generator, count: int) -> list[str]:
    """Up to ``count`` sentences that claim what ``text`` claims, with synonyms in it; not itself.

    Args:
        text: a sentence in the grammar of the captions.
        rng: draws the synonyms.
        count: sentences at most; who has few wordings gets fewer.
    """
    choices = list(_choices(words(text)))
    drawn = (" ".join(options[rng.integers(len(options))] for options in choices) for _ in range(_TRIES * count))
    return [each for each in dict.fromkeys(drawn) if each != " ".join(words(text))][:count]


def _choices(tokens: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """What may stand for each phrase of a sentence, the longest phrases first."""
    at = 0
    while at < len(tokens):
        sizes = range(_LONGEST, 0, -1)
        size = next((s for s in sizes if tokens[at : at + s] in _ALIKE), 1)
        phrase = tokens[at : at + size]
        yield _ALIKE.get(phrase, phrase)
        at += size
