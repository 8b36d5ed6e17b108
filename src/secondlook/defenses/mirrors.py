"""What was painted of the captions of a batch, and how embedders see it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
from torch import Tensor

from secondlook.models.base import Embedder


class Mirrors:
    """Paintings of the captions of a batch; each is looked at once by each embedder.

    Args:
        pictures: ``[B, P, 3, h, w]`` in [0, 1].
        labels: what tells each of the ``B * P`` from others; equal ones are equal pictures.
        known: vectors that were seen before, by label and embedder; it is added to.
    """

    def __init__(
        self, pictures: Tensor, labels: Sequence[Hashable] = (),
        known: dict[Hashable, dict[str, Tensor]] | None = None,
    ) -> None:  # fmt: skip
        self.pictures = pictures
        self._labels = list(labels or range(pictures.shape[0] * pictures.shape[1]))
        self._known = {} if known is None else known

    def __len__(self) -> int:
        return len(self.pictures)

    def seen_by(self, encoder: Embedder) -> Tensor:
        """Unit vectors ``[B, P, D]`` of the pictures, without a gradient."""
        fresh = {
            label: row
            for row, label in enumerate(self._labels)
            if encoder.name not in self._known.get(label, {})
        }
        if fresh:
            flat = self.pictures.flatten(0, 1)[list(fresh.values())]
            for label, vector in zip(fresh, embedded(encoder, flat[:, None])[:, 0], strict=True):
                self._known.setdefault(label, {})[encoder.name] = vector
        seen = torch.stack([self._known[label][encoder.name] for label in self._labels])
        return seen.view(*self.pictures.shape[:2], -1)

    def take(self, rows: Tensor) -> Mirrors:
        """Those of some of the samples."""
        each = self.pictures.shape[1]
        labels = [self._labels[row * each + copy] for row in rows.tolist() for copy in range(each)]
        return Mirrors(self.pictures[rows.to(self.pictures.device)], labels, self._known)


@torch.no_grad()
def embedded(encoder: Embedder, pictures: Tensor) -> Tensor:
    """Unit vectors ``[B, P, D]`` of pictures ``[B, P, 3, h, w]``."""
    return encoder.embed(pictures.flatten(0, 1)).view(*pictures.shape[:2], -1)
