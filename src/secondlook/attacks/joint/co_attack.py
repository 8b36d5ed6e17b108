"""Co-Attack: a caption first, then its image away from itself and from that caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from secondlook.attacks.joint.base import JointAttack, Start, image_vectors
from secondlook.attacks.joint.objectives import Reference, first_vectors
from secondlook.attacks.pairs import AlteredPairs, Pairs
from secondlook.bounds import Positive, Weight
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat


@register("pair attack", "co-attack")
@dataclass(frozen=True, kw_only=True)
class CoAttack(JointAttack):
    """Attacks one caption and the image together (Co-Attack, arXiv 2206.09391).

    The captions are moved away from what they said; the image then from what it showed and, with
    weight ``alpha``, from the first of those captions; then the captions from the clean image.

    Attributes:
        alpha: weight of the altered caption in what the image is moved by.
    """

    key: ClassVar[str] = "co"
    pace: Positive = 1.25
    start: Start = "above"
    alpha: Weight = 3.0

    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        """Captions, images, captions."""
        side, clean = self.texts(victims, pairs), pairs.images
        images = image_vectors(victims, clean)
        altered = first_vectors(side.read(side.away_from_themselves()), side.owner, len(clean))
        references = [
            Reference(victim, image=image, caption=caption)
            for victim, image, caption in zip(victims, images, altered, strict=True)
        ]
        found = self.search_images(references, clean, threat, keys, alpha=self.alpha)
        return AlteredPairs(found.x, side.away_from(images), found.trace, side.notices)
