"""After SCC: a counterattack towards what several views of the image are taken for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.bounds import Count, Natural, Part, Positive, Weight
from secondlook.defenses.adaptation import PixelAdaptation, embedded, slope, zero_shot
from secondlook.defenses.base import Defense
from secondlook.defenses.test_time.crops import resized_crops
from secondlook.models.base import Model
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.registry import register


class Belief(NamedTuple):
    """What the views are taken for.

    Attributes:
        soft: the mean of the class vectors, each as much as it is believed, ``[B, D]``.
        named: the class that is believed most, ``[B]``.
    """

    soft: Tensor
    named: Tensor


class Calibrated(PixelAdaptation):
    """Sign steps away from the image's own vector, then towards its views' classes.

    Args:
        model: who answers.
        settings: of the defense.
    """

    unrolls = False
    model: ZeroShot

    def __init__(self, model: ZeroShot, settings: SCC) -> None:
        super().__init__(model)
        self.settings = settings

    def counter(self, x: Tensor, keys: Keys) -> Tensor:
        """The pixels after all steps."""
        embedder, settings = self.model.embedder, self.settings
        own = embedder.raw_vectors(x).detach()
        seen = self.inside(x, x + settings.eps * (2 * keys.fold("nudge").uniform(x.shape[1:], like=x) - 1))
        for _ in range(settings.warm):
            away = slope(lambda at: (embedder.raw_vectors(at) - own).square().sum(1), seen)
            seen = self.inside(x, seen + settings.step * away.sign())
        target = self.consensus(seen, keys)
        for _ in range(settings.steps):
            up = slope(lambda at: contrast(embedder.embed(at), self.model.texts.to(at), target), seen)
            seen = self.inside(x, seen + settings.step * up.sign())
        return seen

    def inside(self, x: Tensor, seen: Tensor) -> Tensor:
        """The pixels, brought into the ball around ``x`` and into [0, 1]."""
        return (x + (seen - x).clamp(-self.settings.eps, self.settings.eps)).clamp(0, 1)

    def consensus(self, seen: Tensor, keys: Keys) -> Belief:
        """Of crops of the pixels: the mean of what they are believed to be, sharpened."""
        settings = self.settings
        made = resized_crops(seen.detach(), keys.fold("views"), settings.crops, settings.least, flip=True)
        with torch.no_grad():
            scores = self.model.scores(embedded(self.model.embedder, made)) / settings.temperature
            believed = (scores.softmax(-1).mean(1).clamp_min(1e-12).log() / settings.sharpening).softmax(-1)
        return Belief(F.normalize(believed @ self.model.texts.to(believed), dim=-1), believed.argmax(1))


def contrast(vectors: Tensor, texts: Tensor, target: Belief) -> Tensor:
    """The cosine to what is believed, less the largest one to a class that is not named, ``[B]``."""
    others = (vectors @ texts.T).scatter(1, target.named[:, None], -2.0).amax(1)
    return (vectors * target.soft).sum(1) - others


@register("defense", "scc")
@dataclass(frozen=True, kw_only=True)
class SCC(Defense):
    """Moves the image towards what several views of it are taken for (after SCC, arXiv 2510.22785).

    No code was public: what the abstract says is built, and its numbers are ours where it gives none.
    After a random start, sign steps drive the vector away from the image's own, as TTC does; random
    crops of what is reached are believed to be classes, in the mean and sharpened; sign steps ascend
    the cosine to that soft mixture of class vectors less the largest one to another class. It costs
    ``warm + steps + crops + 2`` forwards and ``warm + steps`` backwards.

    Attributes:
        eps: radius of all steps together, L∞ in pixel units.
        warm: steps away from the image's own vector.
        steps: towards what the views are taken for.
        step: length of each, in pixel units.
        crops: random crops that are asked.
        least: the least share of the area that a crop has.
        sharpening: temperature of the mean belief; below 1 the winner gains.
        temperature: cosines are divided by it.

    Raises:
        InvalidInput: a number out of range, or, in front of a model, no embedder with classes.
    """

    eps: Weight = 4 / 255
    warm: Natural = 2
    steps: Count = 3
    step: Positive = 1 / 255
    crops: Count = 8
    least: Part = 0.5
    sharpening: Positive = 0.5
    temperature: Positive = 0.01
    stochastic = True

    def adaptation(self, model: Model) -> Calibrated:
        """The steps on what ``model`` answers."""
        return Calibrated(zero_shot(model, "scc"), self)
