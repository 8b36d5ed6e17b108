"""The attack inside MAT: one word of a caption and some pixels of its image, in a chosen order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from secondlook.attacks.joint.base import JointAttack, seen
from secondlook.attacks.pairs import AlteredPairs, Pairs
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.threat import Threat

Order = Literal["t-i", "i-t", "simultaneous"]


@dataclass(frozen=True, kw_only=True)
class Schedule(JointAttack):
    """Words by BERT-Attack and a short PGD away from the cosine (arXiv 2405.18770, section 3).

    Attributes:
        order: ``t-i`` takes captions from their clean images, then images from those captions;
            ``i-t`` the other way round; ``simultaneous`` each from the clean other.
    """

    order: Order = "t-i"
    steps: int = 2

    def search(
        self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys
    ) -> AlteredPairs:
        """Searches either side once, in this order."""
        side, clean = self.texts(victims, pairs.captions), pairs.images
        told = side.vectors
        if self.order != "i-t":
            captions = side.away_from(seen(victims, clean))
            told = side.read(captions) if self.order == "t-i" else told
        found = self.from_captions(victims, told, side.owner, clean, threat, keys)
        if self.order == "i-t":
            captions = side.away_from(seen(victims, found.x))
        return AlteredPairs(found.x, captions, found.trace, side.notices)
