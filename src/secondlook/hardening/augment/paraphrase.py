"""Paraphrases in the grammar of the embedded world: each phrase by another of its meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache

from secondlook.hardening.augment.base import generators
from secondlook.randomness import Keys
from secondlook.scenes.captions import PLACE_PHRASES, RELATION_PHRASES, SYNONYMS


def paraphrase(texts: Sequence[str], keys: Keys) -> list[str]:
    """Draws the wording of every phrase that has several; what is said stays the same."""
    pattern, wordings = _grammar()
    rows = zip(texts, generators(keys.fold("paraphrase")), strict=True)
    return [
        pattern.sub(lambda found, rng=rng: rng.choice(wordings[found[0]]), text)  # type: ignore[misc]
        for text, rng in rows
    ]


@cache
def _grammar() -> tuple[re.Pattern[str], Mapping[str, tuple[str, ...]]]:
    """What finds the phrases, the longest first, and for each all of its meaning."""
    tables = (SYNONYMS, PLACE_PHRASES, RELATION_PHRASES)
    groups = [tuple(wordings) for table in tables for wordings in table.values()]
    known = {phrase: group for group in groups for phrase in group if len(group) > 1}
    longest = sorted(known, key=len, reverse=True)
    return re.compile(rf"\b(?:{'|'.join(longest)})\b"), known
