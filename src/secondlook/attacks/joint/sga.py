"""SGA: an image at several scales against all of its captions, and the captions against it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secondlook.attacks.joint.base import JointAttack, image_vectors
from secondlook.attacks.pairs import AlteredPairs, Pairs
from secondlook.bounds import Positive
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat

SCALES = (0.5, 0.75, 1.25, 1.5)


@register("pair attack", "sga")
@dataclass(frozen=True, kw_only=True)
class SGA(JointAttack):
    """Set-level guidance: captions, then images, then captions (SGA, arXiv 2307.14061).

    Each caption is moved away from the clean image; the image, at five scales and under noise,
    away from all of those captions; then each caption anew, away from the image that this gave.
    """

    scales: tuple[Positive, ...] = SCALES

    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        """Captions, images, captions."""
        side, clean = self.texts(victims, pairs), pairs.images
        caption_vectors = side.read(side.away_from(image_vectors(victims, clean)))
        found = self.from_captions(victims, caption_vectors, side.owner, clean, threat, keys)
        captions = side.away_from(image_vectors(victims, found.x))
        return AlteredPairs(found.x, captions, found.trace, side.notices)
