"""What the image side of a joint attack maximizes, over several views of each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.attacks.base import Evaluation
from secondlook.attacks.di_fgsm import resized_and_padded
from secondlook.attacks.text.substitution import divergence
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.randomness import Keys


@dataclass(frozen=True, kw_only=True)
class Views:
    """An image, and the same at other scales under noise (SGA, arXiv 2307.14061).

    Attributes:
        scales: each adds a copy that is resized by it and back, both bicubic.
        noise: deviation of the noise that such a copy gets first, in pixel units.
        diversity: the chance that a view is made smaller and put somewhere on black.

    Raises:
        InvalidInput: a scale that is no positive number, or a chance outside [0, 1].
    """

    scales: tuple[float, ...] = ()
    noise: float = 0.05
    diversity: float = 0.0

    def __post_init__(self) -> None:
        for scale in self.scales:
            if not 0 < scale < 8:
                raise InvalidInput(f"scale {scale:g} is outside (0, 8); write 0.5, say")
        if not 0 <= self.diversity <= 1:
            raise InvalidInput(f"diversity={self.diversity:g} is a chance; write 0 to 1")

    @property
    def count(self) -> int:
        """Views of each image."""
        return len(self.scales) + 1

    def __call__(self, x: Tensor, keys: Keys) -> Tensor:
        """The views of a batch, ``[count * B, C, H, W]`` in [0, 1]: all images once, and again."""
        views = [x]
        for scale in self.scales:
            noise = keys.fold("scale", str(scale)).normal(x.shape[1:], like=x)
            views.append(rescaled((x + self.noise * noise).clamp(0, 1), scale))
        if self.diversity:
            views = [resized_and_padded(view, keys.fold("move", at), self.diversity) for at, view in enumerate(views)]
        return torch.cat(views) if len(views) > 1 else views[0]


def rescaled(x: Tensor, scale: float) -> Tensor:
    """``x`` resized by ``scale`` and back to its size, bicubic, in [0, 1]."""
    height, width = x.shape[-2:]
    size = (max(1, int(height * scale)), max(1, int(width * scale)))
    return _resized(_resized(x, size), (height, width))


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic resizing as two matrix products, which take half the time, backwards a third."""
    rows, columns = (_bicubic(*pair).to(x) for pair in zip(x.shape[-2:], size, strict=True))
    return (rows @ x @ columns.T).clamp(0, 1)


@lru_cache(maxsize=64)
def _bicubic(before: int, after: int) -> Tensor:
    """What bicubic resizing makes of ``before`` pixels in a row, ``[after, before]``."""
    points = torch.eye(before).view(1, before, before, 1)
    made = F.interpolate(points, (after, 1), mode="bicubic", align_corners=False)
    return made[0, :, :, 0].T.contiguous()


class Reference(NamedTuple):
    """What one embedder's vectors of the images are pushed away from, a row an image.

    Attributes:
        model: the embedder.
        captions: ``[B, D]``, the mean of the captions' vectors, to have a small dot product with;
            None for no such term.
        image: ``[B, D]``, the clean image's vector to diverge from; None for no such term.
        caption: ``[B, D]``, one caption's vector to diverge from, ``alpha`` times; None for none.
    """

    model: Embedder
    captions: Tensor | None = None
    image: Tensor | None = None
    caption: Tensor | None = None

    def take(self, rows: Tensor) -> Reference:
        """The same for some of the images."""
        return Reference(self.model, *(None if part is None else part[rows] for part in self[1:]))


@dataclass(frozen=True, kw_only=True)
class AwayFromReferences:
    """Sums over embedders and views how far the images are from their references.

    Attributes:
        references: one for each embedder.
        views: what of an image is embedded.
        alpha: weight of the divergence from the one caption.
    """

    references: tuple[Reference, ...]
    views: Views
    alpha: float = 0.0

    @property
    def parts(self) -> Sequence[AwayFromReferences]:
        """Itself: the embedders' gradients are summed."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the embedders."""
        return [module for each in self.references for module in each.model.modules]

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """The loss of ``[B, C, H, W]``; never a success, since others decide who is found."""
        views = self.views(x, keys)
        losses = [self._loss(each, each.model.embed(views)) for each in self.references]
        loss = torch.stack(losses).sum(0).view(self.views.count, -1).sum(0)
        return Evaluation(loss, torch.zeros_like(loss, dtype=torch.bool))

    def take(self, rows: Tensor) -> AwayFromReferences:
        """The same objective for some of the images."""
        return replace(self, references=tuple(each.take(rows) for each in self.references))

    def _loss(self, reference: Reference, vectors: Tensor) -> Tensor:
        """``[V B]`` for the vectors of all views."""
        loss, views = vectors.new_zeros(len(vectors)), self.views.count
        if reference.captions is not None:
            loss = loss - (vectors * reference.captions.repeat(views, 1)).sum(1)
        if reference.image is not None:
            loss = loss + divergence(reference.image.repeat(views, 1), vectors)
        if reference.caption is not None:
            loss = loss + self.alpha * divergence(reference.caption.repeat(views, 1), vectors)
        return loss


def mean_vectors(vectors: Sequence[Tensor], owner: Tensor, images: int) -> list[Tensor]:
    """Of each embedder the mean of each image's caption vectors, ``[C, D] -> [B, D]``."""
    found = []
    for texts in vectors:
        place = owner.to(texts.device)
        counts = torch.bincount(place, minlength=images).to(texts)[:, None]
        sums = texts.new_zeros(images, texts.shape[1]).index_add_(0, place, texts)
        found.append(sums / counts)
    return found


def first_vectors(vectors: Sequence[Tensor], owner: Tensor, images: int) -> list[Tensor]:
    """Of each embedder the vector of each image's first caption, ``[C, D] -> [B, D]``."""
    first = torch.searchsorted(owner, torch.arange(images))
    return [texts[first.to(texts.device)] for texts in vectors]
