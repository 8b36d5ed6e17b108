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
        places: ``[B, 4]``, boxes that the hottest place is wanted in, of which only what is outside of
            ``boxes`` counts; None takes whatever place outside is the hottest. Where nothing of
            it is outside there is no gradient, and no success.
    """

    model: Embedder
    vectors: Tensor
    boxes: Tensor
    site: Site
    weights: Weights = "mean"
    places: Tensor | None = None

    @property
    def parts(self) -> Sequence[MoveMap]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the embedder."""
        return self.model.modules

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Loss ``[B]``: by how much the hottest pixel wanted leads, relative to the hottest."""
        steep = x.requires_grad and torch.is_grad_enabled()
        with torch.enable_grad():
            seen = x if steep else x.detach().requires_grad_()
            coarse = evidence(self.model, seen, self.vectors, self.site, self.weights, steep)
        fine = F.interpolate(coarse[:, None], x.shape[2:], mode="bilinear")[:, 0]
        inside = masks(self.boxes.to(fine), *x.shape[2:])
        wanted = ~inside if self.places is None else masks(self.places.to(fine), *x.shape[2:]) & ~inside
        (away, there), (home, _) = (_hottest(fine, shown) for shown in (wanted, inside))
        scale = fine.detach().abs().amax((1, 2)).clamp_min(1e-12)
        lead = torch.where(there, (away - home) / scale, 0 * away)
        return Evaluation(lead, (_hottest(fine, ~inside)[0] > home) & there)

    def take(self, rows: Tensor) -> MoveMap:
        """The same objective for some of the images."""
        places = None if self.places is None else self.places[rows]
        return replace(self, vectors=self.vectors[rows], boxes=self.boxes[rows], places=places)


def _hottest(fine: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """The hottest of some pixels of each map, and whether there are any, ``[B]`` each."""
    there = shown.flatten(1).any(1)
    # A finite stand-in: minus infinity would leave NaN in the gradient of a map without any.
    return torch.where(shown, fine, fine.detach().amin() - 1).amax((1, 2)), there


@torch.no_grad()
def nearest_places(evidences: Tensor, boxes: Tensor, count: int) -> list[Tensor]:
    """The places of a coarse map outside of a box that are hottest already, the hottest first.

    Args:
        evidences: ``[B, h, w]``, see :func:`~secondlook.models.heatmap.evidence`.
        boxes: ``[B, 4]``: left, top, width and height as shares of the image.
        count: places of each at most.

    Returns:
        For each image ``[N, 4]`` boxes of single places, none where the box covers all of them.
    """
    height, width = evidences.shape[1:]
    outside, found = ~masks(boxes.to(evidences), height, width), []
    for heat, free in zip(evidences, outside, strict=True):
        ranked = heat.masked_fill(~free, -torch.inf).flatten().argsort(descending=True, stable=True)
        cells = ranked[: min(count, int(free.sum()))].tolist()
        rows = [(cell % width / width, cell // width / height, 1 / width, 1 / height) for cell in cells]
        found.append(torch.tensor(rows).reshape(-1, 4))
    return found


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
