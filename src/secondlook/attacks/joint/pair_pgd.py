"""PGD on images alone, against their captions or against what they were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from secondlook.attacks.joint.base import ImageSearch
from secondlook.attacks.pairs import AlteredPairs, Pairs, Touches
from secondlook.attacks.text.captions import flat, owners, text_vectors
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat


@register("pair attack", "pair-pgd")
@dataclass(frozen=True, kw_only=True)
class PairPGD(ImageSearch):
    """Steps on images and leaves captions alone: the image half of Sep-Attack (arXiv 2206.09391).

    Attributes:
        guide: ``captions`` moves an image away from the mean of its captions, ``image`` away from
            the vector it had, as published.

    Raises:
        InvalidInput: as :class:`ImageSearch`.
    """

    touches: ClassVar[Touches] = "images"
    guide: Literal["captions", "image"] = "captions"

    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        """Searches all images together."""
        if self.guide == "image":
            found = self.from_themselves(victims, pairs.images, threat, keys)
        else:
            vectors = text_vectors(victims, flat(pairs.captions))
            owner = owners(pairs.captions)
            found = self.from_captions(victims, vectors, owner, pairs.images, threat, keys)
        return AlteredPairs(found.x, pairs.captions, found.trace)
