"""Captions as an attack sees them: words and the marks around them, stop words, and vectors."""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import chain
from typing import NamedTuple

import torch
from torch import Tensor

from secondlook.attacks.pairs import Captions
from secondlook.models.base import Embedder, evaluating

_BATCH = 256


class Word(NamedTuple):
    """A word as white space parts it.

    Attributes:
        head: punctuation and symbols before it.
        core: what can be replaced; empty where the word is nothing but marks.
        tail: punctuation and symbols behind it.
    """

    head: str
    core: str
    tail: str


@cache
def stop_words() -> frozenset[str]:
    """Function words and marks, in lower case."""
    table = tomllib.loads(files(__package__).joinpath("stopwords.toml").read_text("utf-8"))
    return frozenset(table["words"].split()) | frozenset(table["marks"].split())


@cache
def synonyms() -> Mapping[str, tuple[str, ...]]:
    """For each word the words that say the same."""
    table = tomllib.loads(files(__package__).joinpath("thesaurus.toml").read_text("utf-8"))
    found: dict[str, dict[str, None]] = {}
    for group in table["groups"]:
        for word in group.split():
            others = (other for other in group.split() if other != word)
            found.setdefault(word, {}).update(dict.fromkeys(others))
    return {word: tuple(others) for word, others in found.items()}


def part(word: str) -> Word:
    """A word and the marks around it; symbols such as emoji count as marks.

    Example:
        >>> part("“cat,”")
        Word(head='“', core='cat', tail=',”')
    """
    inside = [place for place, c in enumerate(word) if unicodedata.category(c)[0] not in "PSC"]
    if not inside:
        return Word(word, "", "")
    first, last = inside[0], inside[-1] + 1
    return Word(word[:first], word[first:last], word[last:])


def flat(captions: Captions) -> tuple[str, ...]:
    """All captions in a row."""
    return tuple(chain.from_iterable(captions))


def owners(captions: Captions) -> Tensor:
    """For each caption of that row the row of its image, ``[C]``."""
    counts = torch.tensor([len(texts) for texts in captions], dtype=torch.int64)
    return torch.arange(len(captions)).repeat_interleave(counts)


@torch.no_grad()
def text_vectors(victims: Sequence[Embedder], texts: Sequence[str], *, raw: bool = False) -> tuple[Tensor, ...]:
    """Vectors ``[T, D]`` of each embedder in fp32; each different text is read once.

    Args:
        victims: the embedders.
        texts: what they read.
        raw: as the encoder gives them, instead of unit vectors.
    """
    # Captions of a like length side by side waste the least on padding.
    alike = sorted(dict.fromkeys(texts), key=len)
    place = {text: row for row, text in enumerate(alike)}
    order = torch.tensor([place[text] for text in texts])
    read = _raw_vectors if raw else _unit_vectors
    found = (read(victim, alike) for victim in victims)
    return tuple(vectors[order.to(vectors.device)] for vectors in found)


def _unit_vectors(victim: Embedder, texts: Sequence[str]) -> Tensor:
    return victim.embed_text(texts, _BATCH)


def _raw_vectors(victim: Embedder, texts: Sequence[str]) -> Tensor:
    parts = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
    return torch.cat([victim.encode_text(part).float() for part in parts])


def similarity(before: Sequence[str], after: Sequence[str], judge: Embedder) -> tuple[float, ...]:
    """The cosines of texts to others by ``judge``; each different text is read once."""
    texts = list(dict.fromkeys([*before, *after]))
    if not texts:
        return ()
    place = {text: row for row, text in enumerate(texts)}
    with evaluating(judge.modules):
        vectors = judge.embed_text(texts)
    old = vectors[[place[text] for text in before]]
    new = vectors[[place[text] for text in after]]
    return tuple((old * new).sum(1).tolist())
