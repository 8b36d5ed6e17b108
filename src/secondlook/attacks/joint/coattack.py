"""Co-Attack: a caption first, then its image away from itself and from that caption."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secondlook.attacks.joint.base import JointAttack, seen
from secondlook.attacks.joint.climber import Start
from secondlook.attacks.joint.objectives import Mark, firsts
from secondlook.attacks.pairs import AlteredPairs, Pairs
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat


@register("pair attack", "co")
@dataclass(frozen=True, kw_only=True)
class CoAttack(JointAttack):
    """Attacks one caption and the image together (Co-Attack, arXiv 2206.09391).

    The captions are moved away from what they said; the image then from what it showed and, with
    weight ``alpha``, from the first of those captions; then the captions from the clean image.

    Attributes:
        alpha: weight of the altered caption in what the image is moved by.
    """

    pace: float = 1.25
    start: Start = "above"
    alpha: float = 3.0

    def search(
        self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys
    ) -> AlteredPairs:
        """Captions, images, captions."""
        side, clean = self.texts(victims, pairs.captions), pairs.images
        shown = seen(victims, clean)
        told = firsts(side.read(side.away_from_themselves()), side.owner, len(clean))
        marks = [
            Mark(victim, past=past, paired=paired)
            for victim, past, paired in zip(victims, shown, told, strict=True)
        ]
        found = self.climb(marks, clean, threat, keys, alpha=self.alpha)
        return AlteredPairs(found.x, side.away_from(shown), found.trace, side.notices)
