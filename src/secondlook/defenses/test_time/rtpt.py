"""R-TPT: a prompt tuned to each of an image's clearest views, and views weighted by how many they are like."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.bounds import Count, Part, Positive, Weight
from secondlook.defenses.adaptation import zero_shot
from secondlook.defenses.base import Defense
from secondlook.defenses.test_time.crops import resized_crops
from secondlook.defenses.test_time.dbd import entropy
from secondlook.defenses.test_time.prompts import OpenPrompt, TunedPrompt, template_of
from secondlook.errors import InvalidInput
from secondlook.models.base import Model
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.registry import register


class ReliableViews(TunedPrompt):
    """The pointwise entropy is descended; a view counts by its mean cosine to those most like it.

    Args:
        model: who answers.
        settings: of the defense.
    """

    def __init__(self, model: ZeroShot, settings: RTPT) -> None:
        super().__init__(
            model,
            OpenPrompt(model.embedder, model.classes, template_of(model, settings.prompt), "rtpt"),
            rate=settings.rate,
            decay=settings.decay,
            kept=settings.kept,
            temperature=settings.temperature,
        )
        self.settings = settings

    def views(self, x: Tensor, keys: Keys) -> Tensor:
        """The image itself, and crops of it."""
        crops = resized_crops(x, keys.fold("crops"), self.settings.crops, self.settings.least, flip=True)
        return torch.cat([x[:, None], crops], 1)

    def doubt(self, logits: Tensor) -> Tensor:
        """The mean of the views' entropies."""
        return entropy(logits).mean(1)

    def shares(self, vectors: Tensor) -> Tensor:
        """The softmax of each view's mean cosine to its neighbors."""
        likeness = reliability(vectors, self.settings.neighbors, self.settings.legacy_self)
        return (likeness / self.settings.sharpness).softmax(1)


def reliability(vectors: Tensor, neighbors: int, legacy_self: bool = False) -> Tensor:
    """The mean cosine of each view's unit vector to those most like it, ``[B, V, D] -> [B, V]``.

    Args:
        vectors: of the views.
        neighbors: how many.
        legacy_self: leaves a view out of its own neighbors only where its cosine to itself is
            rounded to 1 or more, as the published code does.
    """
    cosines = vectors @ vectors.mT
    own = torch.eye(vectors.shape[1], dtype=torch.bool, device=vectors.device).expand_as(cosines)
    hidden = cosines >= 1 if legacy_self else own
    return cosines.masked_fill(hidden, 0 if legacy_self else -2).topk(neighbors, dim=2).values.mean(2)


@register("defense", "rtpt")
@dataclass(frozen=True, kw_only=True)
class RTPT(Defense):
    """Tunes the prompt to an image's clearest views, and weighs all views by their likeness (R-TPT, CVPR 2025).

    Of the image and random crops of it the ``share`` of the lowest entropy tells one step of AdamW on
    the context's token vectors, down the mean of their entropies. The answer is the sum of all views'
    scores, each weighted by its mean cosine to the ``neighbors`` views most like it. For each image
    the prompt is the written one again. It costs ``crops + 1`` forwards of the image tower, and of the
    text tower three forwards and a backward for each class.

    Attributes:
        crops: of the image, beside the image itself.
        share: of all views, that the prompt is tuned to.
        least: the least share of the area that a crop has.
        rate: learning rate.
        decay: weight decay.
        neighbors: other views that a view is compared with.
        sharpness: temperature of the views' weights.
        temperature: cosines are divided by it.
        prompt: template to tune, with ``{}`` where the class goes; empty takes the model's own.
        legacy_self: a view is among its own neighbors, unless rounding has it otherwise, as published.

    Raises:
        InvalidInput: a number out of range, too few views, or, in front of a model, no embedder with
            classes, or a text tower that cannot be tuned.
    """

    crops: Count = 63
    share: Part = 0.1
    least: Part = 0.08
    rate: Weight = 5e-3
    decay: Weight = 0.01
    neighbors: Count = 20
    sharpness: Positive = 0.01
    temperature: Positive = 0.01
    prompt: str = ""
    legacy_self: bool = False
    stochastic = True

    def __post_init__(self) -> None:
        if self.crops < self.neighbors:
            raise InvalidInput(f"crops={self.crops} for neighbors={self.neighbors}; write as many crops or more")
        if not self.kept:
            raise InvalidInput(
                f"share={self.share:g} of {self.crops + 1} views is none; write more crops or a larger share"
            )

    @property
    def kept(self) -> int:
        """How many views the prompt is tuned to."""
        return int(self.share * (self.crops + 1))

    def adaptation(self, model: Model) -> ReliableViews:
        """The tuned prompt of a zero-shot classifier."""
        return ReliableViews(zero_shot(model, "rtpt"), self)
