"""Easy data augmentation: synonyms, insertions, swaps and deletions of words."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np

from secondlook.attacks.words.vocabulary import stop_words
from secondlook.errors import InvalidInput
from secondlook.hardening.augment.base import generators
from secondlook.randomness import Keys

Words = list[str]
Operation = Callable[[Words, np.random.Generator], Words]


@cache
def synonyms() -> dict[str, tuple[str, ...]]:
    """For each known word the others that may stand for it, in alphabetical order."""
    text = files("secondlook.hardening.augment").joinpath("synonyms.toml").read_text("utf-8")
    found: dict[str, set[str]] = {}
    for group in tomllib.loads(text)["groups"]:
        for word in group:
            found.setdefault(word, set()).update(set(group) - {word})
    return {word: tuple(sorted(others)) for word, others in found.items()}


@dataclass(frozen=True, kw_only=True)
class EDA:
    """The four operations of Wei & Zou 2019, with their defaults; synonyms are the package's own.

    Attributes:
        replace: share of the words that synonyms replace.
        insert: how many synonyms are put in somewhere, as a share of the words.
        swap: how many pairs of words change places, as a share of the words.
        delete: the chance of each word to be left out.

    Raises:
        InvalidInput: a share outside [0, 1].
    """

    replace: float = 0.1
    insert: float = 0.1
    swap: float = 0.1
    delete: float = 0.1

    def __post_init__(self) -> None:
        for field in ("replace", "insert", "swap", "delete"):
            if not 0 <= getattr(self, field) <= 1:
                raise InvalidInput(f"{field}={getattr(self, field):g}; write a share, 0 to 1")

    def __call__(self, texts: Sequence[str], keys: Keys) -> list[str]:
        """One of the four operations on each text, drawn by its key."""
        rows = zip(texts, generators(keys.fold("eda")), strict=True)
        return [self._one(text, self._operations[int(rng.integers(4))], rng) for text, rng in rows]

    def many(self, text: str, keys: Keys, count: int = 9) -> list[str]:
        """``count`` augmentations of one text in a drawn order, and the text itself, as published.

        Each operation is applied ``count // 4 + 1`` times, and what is too much is left out.
        """
        (rng,) = generators(keys.fold("eda"))
        made = [self._one(text, operation, rng)
                for operation in self._operations for _ in range(count // 4 + 1)]  # fmt: skip
        return [*(made[at] for at in rng.permutation(len(made))[:count]), text]

    @property
    def _operations(self) -> tuple[Operation, ...]:
        return self._replaced, self._inserted, self._swapped, self._deleted

    def _one(self, text: str, operation: Operation, rng: np.random.Generator) -> str:
        return " ".join(operation(text.split(), rng))

    def _replaced(self, words: Words, rng: np.random.Generator) -> Words:
        able = sorted({word for word in words if _replaceable(word)})
        chosen = [able[at] for at in rng.permutation(len(able))[: _count(self.replace, words)]]
        new = {word: _pick(synonyms()[word], rng) for word in chosen}
        return [new.get(word, word) for word in words]

    def _inserted(self, words: Words, rng: np.random.Generator) -> Words:
        able = sorted({word for word in words if _replaceable(word)})
        words = list(words)
        for _ in range(_count(self.insert, words) if able else 0):
            word = _pick(synonyms()[_pick(able, rng)], rng)
            words.insert(int(rng.integers(len(words) + 1)), word)
        return words

    def _swapped(self, words: Words, rng: np.random.Generator) -> Words:
        words = list(words)
        for _ in range(_count(self.swap, words) if len(words) > 1 else 0):
            one, other = rng.choice(len(words), 2, replace=False)
            words[one], words[other] = words[other], words[one]
        return words

    def _deleted(self, words: Words, rng: np.random.Generator) -> Words:
        kept = [word for word in words if rng.random() >= self.delete]
        return kept or [_pick(words, rng)]


def _count(share: float, words: Words) -> int:
    """How many words an operation is about; one at least, where its share is not nothing."""
    return max(1, int(share * len(words))) if share else 0


def _replaceable(word: str) -> bool:
    return word in synonyms() and word not in stop_words()


def _pick(words: Sequence[str], rng: np.random.Generator) -> str:
    return words[int(rng.integers(len(words)))]
