"""What happens to captions without an attacker: typing errors and easy data augmentation."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np

from secondlook.attacks.pairs import AlteredPairs, PairAttack, Pairs, Touches
from secondlook.attacks.text.captions import part, stop_words, synonyms
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat


@dataclass(frozen=True, kw_only=True)
class CaptionNoise(PairAttack):
    """Changes up to ``words`` words of each caption at random; no model is asked."""

    touches: ClassVar[Touches] = "captions"

    @abstractmethod
    def noised(self, text: str, rng: np.random.Generator) -> str:
        """A caption with up to ``words`` words changed."""

    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        """Draws for each caption by the key of its image and its place among its captions."""
        found = [
            tuple(self.noised(text, _generator(keys, row, at)) for at, text in enumerate(texts))
            for row, texts in enumerate(pairs.captions)
        ]
        return AlteredPairs(pairs.images, tuple(found))


def _generator(keys: Keys, row: int, caption: int) -> np.random.Generator:
    word = keys[row : row + 1].fold("caption", caption).words[0]
    return np.random.Generator(np.random.Philox(key=word))


_KEYBOARD: Final = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


@register("pair attack", "typos")
@dataclass(frozen=True, kw_only=True)
class Typos(CaptionNoise):
    """Mistypes words at random: two letters swapped, one lost, doubled, or the key beside it."""

    def noised(self, text: str, rng: np.random.Generator) -> str:
        """Mistypes up to ``words`` words, content words first."""
        words = text.split()
        cores = [part(word).core for word in words]
        content = [at for at, core in enumerate(cores) if core and core.lower() not in stop_words()]
        places = content or [at for at, core in enumerate(cores) if core]
        if not places:
            return text
        for at in rng.permutation(places)[: self.words].tolist():
            head, core, tail = part(words[at])
            words[at] = f"{head}{mistyped(core, rng)}{tail}"
        return " ".join(words)


def mistyped(word: str, rng: np.random.Generator) -> str:
    """One slip in a word of one letter or more; never the same word."""
    at = int(rng.integers(len(word)))
    lost, doubled = word[:at] + word[at + 1 :], word[: at + 1] + word[at:]
    swapped = word[:at] + word[at : at + 2][::-1] + word[at + 2 :]
    beside = [word[:at] + key + word[at + 1 :] for key in _beside(word[at])]
    slips = [slip for slip in (lost, doubled, swapped, *beside) if slip and slip != word]
    return slips[int(rng.integers(len(slips)))]


def _beside(letter: str) -> list[str]:
    row = next((row for row in _KEYBOARD if letter.lower() in row), "")
    at = row.find(letter.lower())
    keys = [row[i] for i in (at - 1, at + 1) if 0 <= i < len(row)] if row else []
    return [key.upper() if letter.isupper() else key for key in keys]


Operation = Literal["replace", "insert", "swap", "delete"]
_COSTS: Final[Mapping[str, int]] = {"replace": 1, "insert": 1, "swap": 2, "delete": 1}


@register("pair attack", "eda")
@dataclass(frozen=True, kw_only=True)
class EDA(CaptionNoise):
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
            words = edited(name, words, rng)
            left -= _COSTS[name]
        return text if left == self.words else " ".join(words)

    @property
    def _kinds(self) -> tuple[Operation, ...]:
        if self.operation == "any":
            return ("replace", "insert", "swap", "delete")
        return (self.operation,)


def edited(name: Operation, words: list[str], rng: np.random.Generator) -> list[str]:
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
