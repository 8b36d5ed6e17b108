"""CLIPure-Cos: gradient steps on the embedding towards what a prompt without a class means."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.bounds import Count, Positive
from secondlook.defenses.adaptation import LatentAdaptation, answering, embedder_of, slope
from secondlook.defenses.base import Defense
from secondlook.models.base import Classifier, Embedder, Model
from secondlook.models.zeroshot import templates
from secondlook.randomness import Keys
from secondlook.registry import register


class TowardsBlank(LatentAdaptation):
    """Steps of one length up the cosine to the blank prompt, on the unit sphere.

    Args:
        model: who answers.
        blank: the vector of the blank prompt, ``[D]``.
        settings: of the defense.
    """

    def __init__(self, model: Classifier | Embedder, blank: Tensor, settings: ClipureCos) -> None:
        super().__init__(model)
        self.blank, self.settings = F.normalize(blank, dim=-1), settings

    def purified(self, vectors: Tensor, keys: Keys) -> Tensor:
        """The unit vectors after all steps."""
        if self.settings.legacy_half:
            vectors = vectors.half().float()
        blank, step = self.blank.to(vectors), self.settings.step
        for _ in range(self.settings.steps):
            if self.settings.legacy_detached:
                with torch.no_grad():
                    up = slope(lambda z: F.cosine_similarity(z, blank, dim=-1), vectors.detach())
            else:
                up = slope(lambda z: F.cosine_similarity(z, blank, dim=-1), vectors)
            # Where the gradient is zero, at the blank prompt itself, the vector stays.
            size = up.norm() if self.settings.legacy_batch_norm else up.norm(dim=1, keepdim=True)
            vectors = F.normalize(vectors + step * up / size.clamp_min(1e-12), dim=-1)
        return vectors


@register("defense", "clipure-cos")
@dataclass(frozen=True, kw_only=True)
class ClipureCos(Defense):
    """Purifies the embedding by steps towards the mean of prompts without a class (CLIPure-Cos, arXiv 2502.18176).

    Each of the steps turns the unit vector by ``atan(step)`` towards the blank prompt. At the
    published step of 30 that is 88 degrees, which leads beyond the prompt for every vector of a
    cosine above 0.033 to it, and the next step turns it back: an even number of steps is the
    identity there. Whoever sets another step has another defense.

    Attributes:
        steps: of the purification.
        step: length of each, as the tangent of the angle that it turns by.
        templates: the prompts, whose class is left blank: a template, or the name of a set.
        legacy_batch_norm: divides by the norm of the whole batch's gradient, as published: an
            answer depends on who else is in the batch.
        legacy_detached: takes the steps' directions for constants, as published: each step makes
            the gradient about 1 / ``step`` of what it is.
        legacy_half: takes the vector in 16 bits, as the published encoder gives it: of a gradient
            through detached steps nothing at all is left, and an attack through it stands still.

    Raises:
        InvalidInput: a number out of range, or, in front of a model, no embedder.
        UnknownName: no such set of templates.
    """

    steps: Count = 10
    step: Positive = 30.0
    templates: str = "imagenet-80"
    legacy_batch_norm: bool = False
    legacy_detached: bool = False
    legacy_half: bool = False

    def __post_init__(self) -> None:
        templates(self.templates)

    def adaptation(self, model: Model) -> TowardsBlank:
        """The steps on the vectors of ``model``."""
        embedder = embedder_of(model, "clipure-cos")
        blank = embedder.embed_text([words.replace("{}", "") for words in templates(self.templates)]).mean(0)
        return TowardsBlank(answering(model, "clipure-cos"), blank, self)
