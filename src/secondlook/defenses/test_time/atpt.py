"""A-TPT: R-TPT on views that keep more of the image itself where the model looks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from secondlook.bounds import Share
from secondlook.defenses.adaptation import zero_shot
from secondlook.defenses.test_time.rtpt import RTPT, ReliableViews
from secondlook.models.base import Embedder, Model
from secondlook.models.heatmap import Site, find_site, heat
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.registry import register

PROBE_SIDE: Final = 224
"""Of the image that finds the features to weigh, for embedders that name no size."""


class AttendedViews(ReliableViews):
    """Crops mixed with the image itself, by where the evidence for the model's own answer is.

    What is attended to is a threshold of a map, with the derivative 0: a constant in every manner.

    Args:
        model: who answers.
        settings: of the defense.

    Raises:
        InvalidInput: the image tower has no spatial features.
    """

    def __init__(self, model: ZeroShot, settings: ATPT) -> None:
        super().__init__(model, settings)
        self.mixing = settings
        self.site = _site(model.embedder)

    def views(self, x: Tensor, keys: Keys) -> Tensor:
        """The image itself, and crops of it, each mixed with it."""
        found = super().views(x, keys)
        attended = self.attended(x.detach())[:, None, None]
        own = torch.where(attended, self.mixing.inside, self.mixing.outside)
        return own * x[:, None] + (1 - own) * found

    def attended(self, x: Tensor) -> Tensor:
        """The pixels with the most evidence for what the model says of images, ``[B, H, W]`` bool."""
        embedder, classes = self.model_of.embedder, self.model_of.texts
        with torch.no_grad():
            named = classes[(embedder.embed(x) @ classes.T.to(x)).argmax(1)]
        return hottest(heat(embedder, x, named.to(x), self.site, "each"), self.mixing.area)

    @property
    def model_of(self) -> ZeroShot:
        """The zero-shot classifier that answers."""
        assert isinstance(self.model, ZeroShot)
        return self.model


def hottest(heat: Tensor, area: float) -> Tensor:
    """The given share of each map's places that are hotter than the rest, ``[B, H, W]`` bool.

    Of a map with less evidence than that, places with any; of one without any, none.

    Example:
        >>> hottest(torch.tensor([[[0.0, 0.3], [0.9, 0.1]]]), 0.5)[0].tolist()
        [[False, True], [True, False]]
    """
    flat = heat.flatten(1)
    rest = flat.shape[1] - round(area * flat.shape[1])
    least = flat.kthvalue(rest, dim=1).values if rest else flat.new_full((len(flat),), -1.0)
    return heat > least[:, None, None]


def _site(embedder: Embedder) -> Site:
    """The features of an embedder that its maps are made of, found with an image of noise."""
    size = getattr(embedder, "size", None) or (PROBE_SIDE, PROBE_SIDE)
    return find_site(embedder, Keys.of(0, [0]).fold("site").uniform((3, *size))[0].to(_place(embedder)))


def _place(embedder: Embedder) -> torch.device:
    return embedder.device or torch.device("cpu")


@register("defense", "atpt")
@dataclass(frozen=True, kw_only=True)
class ATPT(RTPT):
    """Tunes the prompt to views that keep the image where the model looks (*after* A-TPT, ICML 2026).

    It is R-TPT on other views: where there is the most evidence for what the model says of an image,
    a crop is a weak change of it, and a strong one elsewhere. The map is that of the image tower's last
    spatial features, each weighed by its gradient (HiResCAM, arXiv 2011.08891) for the class that the
    bare model names, which every tower with maps of convolutions or tokens on a grid has; the authors'
    is a rollout of the attention of a vision transformer. Crops are mixed, not their augmentations, and
    views are weighed as in R-TPT. It costs ``crops + 3`` forwards of the image tower, a backward through
    what is behind those features, and of the text tower three forwards and a backward for each class.

    Attributes:
        crops, share, least, rate, decay, temperature, prompt: see ``PromptTuning``.
        neighbors, sharpness, legacy_self: see ``RTPT``.
        area: share of the pixels that is looked at.
        inside: how much of the image itself a mixed crop has there.
        outside: and how much elsewhere; with 0 for both the views are those of R-TPT.

    Raises:
        InvalidInput: a number out of range, too few views, or, in front of a model, no embedder with
            classes, a text tower that cannot be tuned, or an image tower without spatial features.
    """

    area: Share = 0.2
    inside: Share = 0.8
    outside: Share = 0.2

    def adaptation(self, model: Model) -> AttendedViews:
        """The tuned prompt of a zero-shot classifier."""
        return AttendedViews(zero_shot(model, "atpt"), self)
