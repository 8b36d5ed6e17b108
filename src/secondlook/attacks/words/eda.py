"""Easy data augmentation as natural noise (EDA, Wei & Zou 2019, arXiv 1901.11196)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, Literal

import numpy as np

from secondlook.attacks.words.noise import CaptionNoise
from secondlook.attacks.words.vocabulary import part, stop_words
from secondlook.errors import InvalidInput
from secondlook.registry import register

Operation = Literal["replace", "insert", "swap", "delete"]
_COSTS: Final[Mapping[str, int]] = {"replace": 1, "insert": 1, "swap": 2, "delete": 1}


@register("pair attack", "eda")
@dataclass(frozen=True, kw_only=True)
class Eda(CaptionNoise):
    """Replaces by a synonym, inserts one, swaps or deletes words at random (arXiv 1901.11196).

    A swap changes two words; where no operation is left that ``words`` has room for, or none of
    the words has a synonym, the caption stays as it is.

    Attributes:
        operation: one of ``replace``, ``insert``, ``swap``, ``delete``, or ``any`` of them.

    Raises:
        InvalidInput: an unknown operation, or a swap where one word may change.
    """

    operation: Literal["any", "replace", "insert", "swap", "delete"] = "any"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.operation != "any" and self.operation not in _COSTS:
            raise InvalidInput(f"operation={self.operation!r}; write any or one of {[*_COSTS]}")
        if self.operation == "swap" and self.words < 2:
            raise InvalidInput(f"words={self.words}: a swap changes two words; write 2 or more")

    def noised(self, text: str, rng: np.random.Generator) -> str:
        """One operation after the other until the words are spent."""
        words, left = text.split(), self.words
        while left > 0:
            able = [name for name in self._kinds if _COSTS[name] <= left and _able(name, words)]
            if not able:
                break
            name = able[int(rng.integers(len(able)))]
            words = applied(name, words, rng)
            left -= _COSTS[name]
        return text if left == self.words else " ".join(words)

    @property
    def _kinds(self) -> tuple[Operation, ...]:
        if self.operation == "any":
            return ("replace", "insert", "swap", "delete")
        return (self.operation,)


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


def applied(name: Operation, words: list[str], rng: np.random.Generator) -> list[str]:
    """A caption's words after one operation.

    Raises:
        InvalidInput: the words give it nothing to work on.
    """
    if not _able(name, words):
        raise InvalidInput(f"{name} finds nothing to do in {' '.join(words)!r}")
    words = list(words)
    if name == "delete":
        words.pop(int(rng.integers(len(words))))
    elif name == "swap":
        one, two = rng.choice(len(words), 2, replace=False).tolist()
        words[one], words[two] = words[two], words[one]
    else:
        at = _drawn(_known(words), rng)
        head, core, tail = part(words[at])
        others = synonyms()[core.lower()]
        other = others[int(rng.integers(len(others)))]
        if name == "replace":
            words[at] = f"{head}{other}{tail}"
        else:
            words.insert(int(rng.integers(len(words) + 1)), other)
    return words


def _drawn(places: list[int], rng: np.random.Generator) -> int:
    return places[int(rng.integers(len(places)))]


def _known(words: list[str]) -> list[int]:
    """The places of words that have a synonym."""
    cores = [part(word).core.lower() for word in words]
    return [at for at, c in enumerate(cores) if c in synonyms() and c not in stop_words()]


def _able(name: Operation, words: list[str]) -> bool:
    if name in ("swap", "delete"):
        return len(words) > 1
    return bool(_known(words))
