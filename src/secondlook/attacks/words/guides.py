"""What a caption is judged by while words are tried in it; higher is worse for the defender."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from secondlook.attacks.divergence import divergence


class Guide(Protocol):
    """Judges captions that stand for others."""

    def __call__(self, vectors: Sequence[Tensor], owner: Tensor) -> Tensor:
        """Scores ``[N]``.

        Args:
            vectors: of each embedder, ``[N, D]``, of the captions on trial.
            owner: ``[N]``, for each of them which caption it stands for.
        """
        ...


class AwayFromImage:
    """Minus the cosine to the caption's image, summed over the embedders (SGA's text side).

    Attributes:
        images: of each embedder the unit vectors ``[C, D]`` of the captions' images.
    """

    def __init__(self, images: Sequence[Tensor]) -> None:
        self.images = tuple(images)

    def __call__(self, vectors: Sequence[Tensor], owner: Tensor) -> Tensor:
        return -torch.stack([
            (texts * images[owner.to(images.device)]).sum(-1)
            for texts, images in zip(vectors, self.images, strict=True)
        ]).sum(0)  # fmt: skip


class AwayFromItself:
    """The divergence from the caption as it was, summed over the embedders (Co-Attack's).

    Attributes:
        origins: of each embedder the vectors ``[C, D]`` of the captions as they were.
    """

    def __init__(self, origins: Sequence[Tensor]) -> None:
        self.origins = tuple(origins)

    def __call__(self, vectors: Sequence[Tensor], owner: Tensor) -> Tensor:
        return torch.stack([
            divergence(origins[owner.to(origins.device)], texts)
            for texts, origins in zip(vectors, self.origins, strict=True)
        ]).sum(0)  # fmt: skip
