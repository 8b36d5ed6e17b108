"""Hedge defense: steps away from all classes at once."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from secondlook.bounds import Count, Positive, Weight
from secondlook.defenses.adaptation import PixelAdaptation, classifier, slope
from secondlook.defenses.base import Defense
from secondlook.models.base import Classifier, Model
from secondlook.randomness import Keys
from secondlook.registry import register


class AgainstAll(PixelAdaptation):
    """Sign steps up the sum of the cross-entropies to all classes, from a random start.

    Args:
        model: who answers.
        settings: of the defense.
    """

    unrolls = False
    model: Classifier

    def __init__(self, model: Classifier, settings: Hedge) -> None:
        super().__init__(model)
        self.settings, self.scale = settings, settings.temperature if model.cosine else 1.0

    def counter(self, x: Tensor, keys: Keys) -> Tensor:
        """The pixels after all steps."""
        eps = self.settings.eps
        seen = (x + eps * (2 * keys.fold("start").uniform(x.shape[1:], like=x) - 1)).clamp(0, 1)
        low, high = (x - eps).clamp(0, 1), (x + eps).clamp(0, 1)
        for _ in range(self.settings.steps):
            up = slope(lambda at: against_all(self.model(at) / self.scale), seen).sign()
            seen = (seen + self.settings.step * up).clamp(low, high)
        return seen


def against_all(logits: Tensor) -> Tensor:
    """The sum of the cross-entropies to all K classes, ``[B]``; its gradient is ``K p - 1``."""
    return logits.shape[-1] * logits.logsumexp(-1) - logits.sum(-1)


@register("defense", "hedge")
@dataclass(frozen=True, kw_only=True)
class Hedge(Defense):
    """Moves the image away from all classes at once, which a false class stands less well (Wu et al. 2021).

    Sign steps ascend the sum of the cross-entropies to all classes within a ball. It costs
    ``steps + 1`` forwards and ``steps`` backwards.

    Attributes:
        eps: radius of the ball, L∞ in pixel units; the start is drawn in it.
        steps: of the ascent.
        step: length of each, in pixel units.
        temperature: cosines are divided by it; logits are taken as they are.

    Raises:
        InvalidInput: a number out of range, or, in front of a model, no classes.
    """

    eps: Weight = 8 / 255
    steps: Count = 20
    step: Positive = 4 / 255
    temperature: Positive = 0.01

    @property
    def stochastic(self) -> bool:
        """Whether there is a random start."""
        return self.eps > 0

    def adaptation(self, model: Model) -> AgainstAll:
        """The steps on what ``model`` answers."""
        return AgainstAll(classifier(model, "hedge"), self)
