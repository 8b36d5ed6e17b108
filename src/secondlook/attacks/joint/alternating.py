"""Captions and images in turn, until neither side finds anything better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from secondlook.attacks.joint.base import JointAttack, image_vectors
from secondlook.attacks.joint.objectives import mean_vectors
from secondlook.attacks.pairs import AlteredPairs, Captions, Pairs
from secondlook.bounds import Count
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat, per_sample

_GAIN = 1e-4
"""A rise of the mean cosine that is none: the noise of single precision is below it."""


@dataclass(frozen=True)
class BestPairs:
    """Images and captions as they stand, with their vectors by embedder.

    Attributes:
        images: ``[B, C, H, W]``.
        captions: of each image.
        image_vectors: ``[B, D]`` of each embedder.
        caption_vectors: ``[C, D]`` of each embedder.
        owner: ``[C]``, the row of each caption's image.
    """

    images: Tensor
    captions: Captions
    image_vectors: tuple[Tensor, ...]
    caption_vectors: tuple[Tensor, ...]
    owner: Tensor

    @property
    def closeness(self) -> Tensor:
        """The mean cosine of each image to its captions, summed over embedders, ``[B]``."""
        means = mean_vectors(self.caption_vectors, self.owner, len(self.images))
        rows = zip(self.image_vectors, means, strict=True)
        return torch.stack([(image * texts).sum(1) for image, texts in rows]).sum(0)

    def with_captions(self, captions: Captions, caption_vectors: Sequence[Tensor]) -> BestPairs:
        """Other captions for those images that are further from them."""
        better = replace(self, caption_vectors=tuple(caption_vectors)).closeness < self.closeness - _GAIN
        own = better[self.owner.to(better.device)][:, None]
        rows = zip(better.tolist(), captions, self.captions, strict=True)
        return replace(
            self,
            captions=tuple(new if wins else old for wins, new, old in rows),
            caption_vectors=tuple(
                torch.where(own, n, o) for n, o in zip(caption_vectors, self.caption_vectors, strict=True)
            ),
        )

    def with_images(self, images: Tensor, image_vectors: Sequence[Tensor]) -> BestPairs:
        """Other images where those are further from their captions."""
        better = replace(self, image_vectors=tuple(image_vectors)).closeness < self.closeness - _GAIN
        own = better[:, None]
        return replace(
            self,
            images=torch.where(per_sample(better).to(images.device), images, self.images),
            image_vectors=tuple(torch.where(own, n, o) for n, o in zip(image_vectors, self.image_vectors, strict=True)),
        )


@register("pair attack", "alternating")
@dataclass(frozen=True, kw_only=True)
class Alternating(JointAttack):
    """Searches captions and images in turn until neither improves: no published schedule.

    What it lowers is the mean cosine of an image to its captions. An image whose captions or
    pixels would make it worse keeps those that it had.

    Attributes:
        rounds: turns of both sides at most.

    Raises:
        InvalidInput: as :class:`JointAttack`, or less than one round.
    """

    rounds: Count = 5

    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        """Turns until one of them changes nothing."""
        side, clean = self.texts(victims, pairs), pairs.images
        best = BestPairs(clean, pairs.captions, tuple(image_vectors(victims, clean)), side.vectors, side.owner)
        trace = None
        for turn in range(self.rounds):
            before = best
            tried = side.away_from(best.image_vectors)
            best = best.with_captions(tried, side.read(tried))
            found = self.from_captions(
                victims,
                best.caption_vectors,
                best.owner,
                clean,
                threat,
                keys.fold("turn", turn),
                warm=best.images if turn else None,
            )
            best = best.with_images(found.x, image_vectors(victims, found.x))
            trace = trace or found.trace
            if bool((best.closeness >= before.closeness - _GAIN).all()):
                break
        return AlteredPairs(best.images, best.captions, trace, side.notices)
