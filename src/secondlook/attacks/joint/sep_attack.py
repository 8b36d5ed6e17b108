"""Sep-Attack: captions and images, each without regard to the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from secondlook.attacks.joint.base import JointAttack, image_vectors
from secondlook.attacks.pairs import AlteredPairs, Pairs
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat


@register("pair attack", "sep-attack")
@dataclass(frozen=True, kw_only=True)
class SepAttack(JointAttack):
    """Attacks captions and images separately (Sep-Attack, arXiv 2206.09391).

    Attributes:
        guide: ``itself``, as published: a caption goes away from what it said and an image from
            what it showed; ``other`` takes a caption from the clean image and an image from the
            clean captions.

    Raises:
        InvalidInput: as :class:`JointAttack`, or an unknown guide.
    """

    key: ClassVar[str] = "sep"
    guide: Literal["itself", "other"] = "itself"

    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        """Searches either side once."""
        side, clean = self.texts(victims, pairs), pairs.images
        if self.guide == "itself":
            captions = side.away_from_themselves()
            found = self.from_themselves(victims, clean, threat, keys)
        else:
            captions = side.away_from(image_vectors(victims, clean))
            found = self.from_captions(victims, side.vectors, side.owner, clean, threat, keys)
        return AlteredPairs(found.x, captions, found.trace, side.notices)
