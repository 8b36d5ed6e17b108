"""Objectives on grounding maps: that the map points elsewhere, or that the cosine falls."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.attacks.base import Evaluation
from secondlook.metrics.pointing import masks
from secondlook.models.base import Embedder
from secondlook.models.heatmap import Site, Weights, evidence
from secondlook.randomness import Keys


@dataclass(frozen=True, kw_only=True)
class MoveMap:
    """The hottest place leaves the box: an attack on the map itself, through second derivatives.

    An attack on the cosine alone need not move the map, whose peak is where the cosine is to be
    had (Ghorbani et al. 2019, arXiv 1710.10547, attack maps of saliency so).

    Attributes:
        model: the embedder.
        vectors: what is looked for on each image, ``[B, D]``.
        boxes: ``[B, 4]``: left, top, width and height as shares of the image.
        site: the module whose features make the map.
        weights: how features are weighed.
    """

    model: Embedder
    vectors: Tensor
    boxes: Tensor
    site: Site
    weights: Weights = "mean"

    @property
    def parts(self) -> Sequence[MoveMap]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the embedder."""
        return self.model.modules

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Loss ``[B]``: by how much the hottest pixel outside leads, relative to the hottest."""
        steep = x.requires_grad and torch.is_grad_enabled()
        with torch.enable_grad():
            seen = x if steep else x.detach().requires_grad_()
            coarse = evidence(self.model, seen, self.vectors, self.site, self.weights, steep)
        fine = F.interpolate(coarse[:, None], x.shape[2:], mode="bilinear")[:, 0]
        inside = masks(self.boxes.to(fine), *x.shape[2:])
        away, home = (fine.masked_fill(hidden, -torch.inf).amax((1, 2)) for hidden in (inside, ~inside))
        scale = fine.detach().abs().amax((1, 2)).clamp_min(1e-12)
        return Evaluation((away - home) / scale, away > home)

    def take(self, rows: Tensor) -> MoveMap:
        """The same objective for some of the images."""
        return replace(self, vectors=self.vectors[rows], boxes=self.boxes[rows])


@dataclass(frozen=True, kw_only=True)
class LowerCosine:
    """The image leaves its text: an attack on the cosine that the map is a gradient of.

    A cosine does not say where the model points then, so that no sample leaves early.

    Attributes:
        model: the embedder.
        vectors: of the texts, ``[B, D]``, unit vectors.
    """

    model: Embedder
    vectors: Tensor

    @property
    def parts(self) -> Sequence[LowerCosine]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the embedder."""
        return self.model.modules

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Loss ``[B]``: minus the cosine."""
        loss = -(self.model.embed(x) * self.vectors).sum(1)
        return Evaluation(loss, torch.zeros_like(loss, dtype=torch.bool))

    def take(self, rows: Tensor) -> LowerCosine:
        """The same objective for some of the images."""
        return replace(self, vectors=self.vectors[rows])
