"""Slips of the finger, the control that shows what an attack on words adds to bad typing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from secondlook.attacks.words.noise import CaptionNoise
from secondlook.attacks.words.vocabulary import part, stop_words
from secondlook.registry import register

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
