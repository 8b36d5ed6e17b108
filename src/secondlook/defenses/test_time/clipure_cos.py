"""CLIPure-Cos: gradient steps on the embedding towards what a prompt without a class means."""

from __future__ import annotations

from abc import abstractmethod
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


class Uphill(LatentAdaptation):
    """Steps of one length up a likelihood of the embedding, on the unit sphere.

    Args:
        model: who answers.
        settings: of the defense.
    """

    def __init__(self, model: Classifier | Embedder, settings: Clipure) -> None:
        super().__init__(model)
        self.settings = settings

    @abstractmethod
    def likelihood(self, vectors: Tensor, keys: Keys) -> Tensor:
        """What is climbed, ``[B]``, of vectors ``[B, D]``; ``keys`` are those of the step."""

    def purified(self, vectors: Tensor, keys: Keys) -> Tensor:
        """The unit vectors after all steps."""
        if self.settings.legacy_half:
            vectors = vectors.half().float()
        for number in range(self.settings.steps):
            up = self._up(vectors, keys.fold("step", number))
            # Where the gradient is zero, at the blank prompt itself, the vector stays.
            size = up.norm() if self.settings.legacy_batch_norm else up.norm(dim=1, keepdim=True)
            vectors = F.normalize(vectors + self.settings.step * up / size.clamp_min(1e-12), dim=-1)
        return vectors

    def _up(self, vectors: Tensor, keys: Keys) -> Tensor:
        if not self.settings.legacy_detached:
            return slope(lambda z: self.likelihood(z, keys), vectors)
        with torch.no_grad():
            return slope(lambda z: self.likelihood(z, keys), vectors.detach())


class TowardsBlank(Uphill):
    """Steps up the cosine to the blank prompt.

    Args:
        model: who answers.
        blank: the vector of the blank prompt, ``[D]``.
        settings: of the defense.
    """

    def __init__(self, model: Classifier | Embedder, blank: Tensor, settings: Clipure) -> None:
        super().__init__(model, settings)
        self.blank = F.normalize(blank, dim=-1)

    def likelihood(self, vectors: Tensor, keys: Keys) -> Tensor:
        """The cosine."""
        return F.cosine_similarity(vectors, self.blank.to(vectors), dim=-1)


@dataclass(frozen=True, kw_only=True)
class Clipure(Defense):
    """What both forms of CLIPure have in common.

    Attributes:
        steps: of the purification.
        step: length of each.
        legacy_batch_norm: divides by the norm of the whole batch's gradient.
        legacy_detached: takes the steps' directions for constants.
        legacy_half: takes the vector in 16 bits.
    """

    steps: Count = 10
    step: Positive = 30.0
    legacy_batch_norm: bool = False
    legacy_detached: bool = False
    legacy_half: bool = False


@register("defense", "clipure-cos")
@dataclass(frozen=True, kw_only=True)
class ClipureCos(Clipure):
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

    templates: str = "imagenet-80"

    def __post_init__(self) -> None:
        templates(self.templates)

    def adaptation(self, model: Model) -> TowardsBlank:
        """The steps on the vectors of ``model``."""
        embedder = embedder_of(model, "clipure-cos")
        blank = embedder.embed_text([words.replace("{}", "") for words in templates(self.templates)]).mean(0)
        return TowardsBlank(answering(model, "clipure-cos"), blank, self)
