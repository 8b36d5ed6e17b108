"""What the image side climbs: away from captions, or from what the image was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from secondlook.attacks.base import Judged
from secondlook.attacks.divergence import divergence
from secondlook.attacks.joint.views import Views
from secondlook.models.base import Embedder
from secondlook.randomness import Keys


class Mark(NamedTuple):
    """What one embedder's vectors of the images are pushed away from, a row an image.

    Attributes:
        model: the embedder.
        apart: ``[B, D]``, a vector to have a small dot product with, say a mean of captions; None
            for no such term.
        past: ``[B, D]``, the clean image's vector to diverge from; None for no such term.
        paired: ``[B, D]``, a caption's vector to diverge from, ``alpha`` times; None for none.
    """

    model: Embedder
    apart: Tensor | None = None
    past: Tensor | None = None
    paired: Tensor | None = None

    def take(self, rows: Tensor) -> Mark:
        """The same for some of the images."""
        return Mark(self.model, *(None if part is None else part[rows] for part in self[1:]))


@dataclass(frozen=True, kw_only=True)
class Estrange:
    """Sums over embedders and views how far the images are from their marks.

    Attributes:
        marks: one for each embedder.
        views: what of an image is looked at.
        alpha: weight of the divergence from the paired caption.
    """

    marks: tuple[Mark, ...]
    views: Views
    alpha: float = 0.0

    @property
    def parts(self) -> Sequence[Estrange]:
        """Itself: the embedders' gradients are summed."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the embedders."""
        return [module for mark in self.marks for module in mark.model.modules]

    def __call__(self, x: Tensor, keys: Keys) -> Judged:
        """Judges ``[B, 3, H, W]``; nothing is ever reached, since others decide who is found."""
        seen = self.views(x, keys)
        losses = [self._loss(mark, mark.model.embed(seen)) for mark in self.marks]
        loss = torch.stack(losses).sum(0).view(self.views.count, -1).sum(0)
        return Judged(loss, torch.zeros_like(loss, dtype=torch.bool))

    def take(self, rows: Tensor) -> Estrange:
        """The same objective for some of the images."""
        return replace(self, marks=tuple(mark.take(rows) for mark in self.marks))

    def _loss(self, mark: Mark, vectors: Tensor) -> Tensor:
        """``[V B]`` for the vectors of all views."""
        loss, views = vectors.new_zeros(len(vectors)), self.views.count
        if mark.apart is not None:
            loss = loss - (vectors * mark.apart.repeat(views, 1)).sum(1)
        if mark.past is not None:
            loss = loss + divergence(mark.past.repeat(views, 1), vectors)
        if mark.paired is not None:
            loss = loss + self.alpha * divergence(mark.paired.repeat(views, 1), vectors)
        return loss


def means(vectors: Sequence[Tensor], owner: Tensor, images: int) -> list[Tensor]:
    """Of each embedder the mean of each image's caption vectors, ``[C, D] -> [B, D]``."""
    found = []
    for texts in vectors:
        place = owner.to(texts.device)
        counts = torch.bincount(place, minlength=images).to(texts)[:, None]
        sums = texts.new_zeros(images, texts.shape[1]).index_add_(0, place, texts)
        found.append(sums / counts)
    return found


def firsts(vectors: Sequence[Tensor], owner: Tensor, images: int) -> list[Tensor]:
    """Of each embedder the vector of each image's first caption, ``[C, D] -> [B, D]``."""
    first = torch.searchsorted(owner, torch.arange(images))
    return [texts[first.to(texts.device)] for texts in vectors]
