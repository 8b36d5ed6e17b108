"""BERT-Attack in its image-text form: one word for another, each caption by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from secondlook.attacks.pairs import AlteredPairs, Pairs, Touches
from secondlook.attacks.text.base import WordSubstitution
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat


@register("pair attack", "bert-attack")
@dataclass(frozen=True, kw_only=True)
class BERTAttack(WordSubstitution):
    """Replaces words by what a language model would write (BERT-Attack, arXiv 2004.09984).

    Attributes:
        guide: ``image`` moves a caption away from its image, ``caption`` from what it said.

    Raises:
        InvalidInput: as :class:`WordSubstitution`, or an unknown guide.
    """

    touches: ClassVar[Touches] = "captions"
    guide: Literal["image", "caption"] = "image"

    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        """Searches all captions together."""
        side = self.texts(victims, pairs)
        if self.guide == "caption":
            found = side.away_from_themselves()
        else:
            with torch.no_grad():
                found = side.away_from([victim.embed(pairs.images) for victim in victims])
        return AlteredPairs(pairs.images, found, notices=side.notices)
