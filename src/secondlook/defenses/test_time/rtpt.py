"""R-TPT: a prompt tuned to each of an image's clearest views, and views weighted by how many they are like."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.bounds import Count, Positive
from secondlook.defenses.adaptation import zero_shot
from secondlook.defenses.test_time.dbd import entropy
from secondlook.defenses.test_time.prompts import PromptTuning, TunedPrompt
from secondlook.errors import InvalidInput
from secondlook.models.base import Model
from secondlook.models.zeroshot import ZeroShot
from secondlook.registry import register


class ReliableViews(TunedPrompt):
    """The pointwise entropy is descended; a view counts by its mean cosine to those most like it.

    Args:
        model: who answers.
        settings: of the defense.
    """

    def __init__(self, model: ZeroShot, settings: RTPT) -> None:
        super().__init__(model, settings)
        self.settings = settings

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
class RTPT(PromptTuning):
    """Tunes the prompt to an image's clearest views, and weighs all views by their likeness (R-TPT, CVPR 2025).

    Of the image and random crops of it the ``share`` of the lowest entropy tells one step of AdamW on
    the context's token vectors, down the mean of their entropies. The answer is the sum of all views'
    scores, each weighted by its mean cosine to the ``neighbors`` views most like it. For each image
    the prompt is the written one again. It costs ``crops + 1`` forwards of the image tower, and of the
    text tower three forwards and a backward for each class.

    Attributes:
        crops, share, least, rate, decay, temperature, prompt: see ``PromptTuning``.
        neighbors: other views that a view is compared with.
        sharpness: temperature of the views' weights.
        legacy_self: a view is among its own neighbors, unless rounding has it otherwise, as published.

    Raises:
        InvalidInput: a number out of range, too few views, or, in front of a model, no embedder with
            classes, or a text tower that cannot be tuned.
    """

    neighbors: Count = 20
    sharpness: Positive = 0.01
    legacy_self: bool = False

    def __post_init__(self) -> None:
        if self.crops < self.neighbors:
            raise InvalidInput(f"crops={self.crops} for neighbors={self.neighbors}; write as many crops or more")
        super().__post_init__()

    def adaptation(self, model: Model) -> ReliableViews:
        """The tuned prompt of a zero-shot classifier."""
        return ReliableViews(zero_shot(model, "rtpt"), self)
