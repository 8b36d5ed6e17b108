"""ET3: towards what the model knows well, down the energy of its logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from secondlook.bounds import Count, Positive
from secondlook.defenses.adaptation import PixelAdaptation, classifier, slope
from secondlook.defenses.base import Defense
from secondlook.models.base import Classifier, Model
from secondlook.randomness import Keys
from secondlook.registry import register


class LowerEnergy(PixelAdaptation):
    """Steps of one length down the energy, within a ball; they have a derivative of their own.

    Args:
        model: who answers.
        settings: of the defense.
    """

    model: Classifier

    def __init__(self, model: Classifier, settings: ET3) -> None:
        super().__init__(model)
        self.settings, self.scale = settings, settings.temperature if model.cosine else 1.0

    def counter(self, x: Tensor, keys: Keys) -> Tensor:
        """The pixels after all steps."""
        seen = x
        for _ in range(self.settings.steps):
            up = slope(lambda at: -(self.model(at) / self.scale).logsumexp(1), seen)
            seen = (x + self.inside(seen - self.settings.step * lengthened(up) - x)).clamp(0, 1)
        return seen

    def inside(self, change: Tensor) -> Tensor:
        """The change ``[B, C, H, W]``, brought into the ball."""
        eps = self.settings.eps
        if self.settings.norm == "linf":
            return change.clamp(-eps, eps)
        size: Tensor = change.flatten(1).norm(dim=1).clamp_min(eps).view(-1, 1, 1, 1)
        return change * (eps / size)


def lengthened(gradient: Tensor) -> Tensor:
    """Each sample's gradient ``[B, C, H, W]`` at length 1; where there is none, it stays 0."""
    size: Tensor = gradient.flatten(1).norm(dim=1).clamp_min(1e-20).view(-1, 1, 1, 1)
    return gradient / size


Ball = Literal["linf", "l2"]


@register("defense", "et3")
@dataclass(frozen=True, kw_only=True)
class ET3(Defense):
    """Moves the image down the energy of the model's logits (ET3, arXiv 2603.26984).

    The energy is ``-logsumexp``, and its gradient that of the classes' logits, each as much as it is
    believed: the current winner is sharpened, right or wrong. The authors have two defenses of one
    name: 2 steps in an L∞ box of 5/255 for CLIP, which are the defaults, and ``steps=5, norm="l2",
    eps=5`` for classifiers. It costs ``steps + 1`` forwards and ``steps`` backwards.

    Attributes:
        steps: of the descent.
        step: L2 length of each, in pixel units; those of the authors are for images of 224 pixels a side.
        norm: of the ball, ``linf`` or ``l2``.
        eps: its radius, in pixel units.
        temperature: cosines are divided by it; logits are taken as they are.

    Raises:
        InvalidInput: a number out of range, another norm, or, in front of a model, no classes.
    """

    steps: Count = 2
    step: Positive = 2.5
    norm: Ball = "linf"
    eps: Positive = 5 / 255
    temperature: Positive = 0.01

    def adaptation(self, model: Model) -> LowerEnergy:
        """The steps on what ``model`` answers."""
        return LowerEnergy(classifier(model, "et3"), self)
