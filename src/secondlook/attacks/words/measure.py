"""What an altered caption still has of the caption: meaning, letters and words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from secondlook.attacks.edits import edits, words_changed
from secondlook.models.base import Embedder, evaluating


class Distances(NamedTuple):
    """How far altered captions are from the captions, a value for each.

    Attributes:
        words: replaced, added or taken away.
        letters: the same of characters.
        similarity: cosine by an embedder that is no victim; None where no such is given.
    """

    words: tuple[int, ...]
    letters: tuple[int, ...]
    similarity: tuple[float, ...] | None


def distances(
    before: Sequence[str], after: Sequence[str], judge: Embedder | None = None
) -> Distances:
    """Measures altered captions; who attacks ``judge`` itself must not measure by it.

    Raises:
        ValueError: not as many after as before.
    """
    rows = list(zip(before, after, strict=True))
    return Distances(
        words=tuple(words_changed(old, new) for old, new in rows),
        letters=tuple(edits(old, new) for old, new in rows),
        similarity=None if judge is None else similarity(before, after, judge),
    )


def similarity(before: Sequence[str], after: Sequence[str], judge: Embedder) -> tuple[float, ...]:
    """The cosines of texts to others; each different text is read once."""
    texts = list(dict.fromkeys([*before, *after]))
    if not texts:
        return ()
    place = {text: row for row, text in enumerate(texts)}
    with evaluating(judge.modules):
        vectors = judge.embed_text(texts)
    old = vectors[[place[text] for text in before]]
    new = vectors[[place[text] for text in after]]
    return tuple((old * new).sum(1).tolist())
