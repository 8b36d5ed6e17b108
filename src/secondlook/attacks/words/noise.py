"""What happens to captions without an attacker: the controls beside every attack on words."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from secondlook.attacks.pairs import AlteredPairs, PairAttack, Pairs, Touches
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.threat import Threat


@dataclass(frozen=True, kw_only=True)
class CaptionNoise(PairAttack):
    """Changes up to ``words`` words of each caption at random; no model is asked."""

    touches: ClassVar[Touches] = "captions"

    @abstractmethod
    def noised(self, text: str, rng: np.random.Generator) -> str:
        """A caption with up to ``words`` words changed."""

    def search(
        self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys
    ) -> AlteredPairs:
        """Draws for each caption by the key of its image and its place among its captions."""
        found = [
            tuple(self.noised(text, _generator(keys, row, at)) for at, text in enumerate(texts))
            for row, texts in enumerate(pairs.captions)
        ]
        return AlteredPairs(pairs.images, tuple(found))


def _generator(keys: Keys, row: int, caption: int) -> np.random.Generator:
    word = keys[row : row + 1].fold("caption", caption).words[0]
    return np.random.Generator(np.random.Philox(key=word))
