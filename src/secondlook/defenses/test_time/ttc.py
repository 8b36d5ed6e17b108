"""TTC: a counterattack on the image, away from what the encoder sees in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secondlook.bounds import Natural, Positive, Weight
from secondlook.defenses.adaptation import PixelAdaptation, answering, embedder_of, slope
from secondlook.defenses.base import Defense, models_of
from secondlook.models.base import Classifier, Embedder, Model
from secondlook.randomness import Keys
from secondlook.registry import register


class Counterattack(PixelAdaptation):
    """Sign steps that drive the vector away, where a random nudge moves it suspiciously little.

    Args:
        model: who answers.
        embedder: whose vectors are driven away.
        original: whose vectors tell whether an image is falsely stable; None for the same embedder.
        settings: of the defense.
    """

    unrolls = False

    def __init__(
        self, model: Classifier | Embedder, embedder: Embedder, original: Embedder | None, settings: TTC
    ) -> None:
        super().__init__(model)
        self.embedder, self.original, self.settings = embedder, original, settings

    @property
    def parts(self) -> tuple[Model, ...]:
        """The embedder of the gate, where it is another."""
        return () if self.original is None else (self.original,)

    def counter(self, x: Tensor, keys: Keys) -> Tensor:
        """The image and the mean of the counterattack's steps, or the nudge alone where it is not stable."""
        settings, own = self.settings, self.embedder.raw_vectors(x).detach()
        points, seen = [self.nudge(x, keys)], list[Tensor]()

        def distance(at: Tensor) -> Tensor:
            seen.append(self.embedder.raw_vectors(x + at))
            return (seen[-1] - own).square().sum(1)

        for _ in range(settings.steps):
            away = settings.step * slope(distance, points[-1]).sign()
            points.append(_inside(x, (points[-1] + away).clamp(-settings.eps, settings.eps)))
        if self.original is None and seen:
            beyond = share_moved(own, seen[0].detach()) - settings.stable_below
        else:
            beyond = self.gate(x.detach(), keys)
        weights = step_weights(settings.steps, settings.beta).to(x)
        counter = (torch.stack(points, 1) * weights.view(-1, 1, 1, 1)).sum(1)
        return (x + torch.where(beyond.view(-1, 1, 1, 1) < 0, counter, points[0])).clamp(0, 1)

    def nudge(self, x: Tensor, keys: Keys) -> Tensor:
        """What is added to an image at random."""
        return _inside(x, self.settings.eps * (2 * keys.fold("nudge").uniform(x.shape[1:], like=x) - 1))

    def gate(self, x: Tensor, keys: Keys) -> Tensor:
        """How much further the nudge moves the vector than what counts as stable, ``[B]``."""
        judge = self.original or self.embedder
        own, nudged = (judge.raw_vectors(at) for at in (x, x + self.nudge(x, keys)))
        return share_moved(own, nudged) - self.settings.stable_below


def share_moved(own: Tensor, nudged: Tensor) -> Tensor:
    """How far vectors are moved, as a share of their length, ``[B]``."""
    moved: Tensor = (nudged - own).norm(dim=1) / own.norm(dim=1).clamp_min(1e-12)
    return moved


def _inside(x: Tensor, change: Tensor) -> Tensor:
    """The change, as far as the pixels stay in [0, 1]."""
    return (x + change).clamp(0, 1) - x


def step_weights(steps: int, beta: float) -> Tensor:
    """What the nudge and each step count, ``[steps + 1]``; later ones count more.

    Example:
        >>> [f"{weight:.5f}" for weight in step_weights(2, 2.0).tolist()]
        ['0.01588', '0.11731', '0.86681']
    """
    return (beta * torch.arange(steps + 1)).softmax(0)


@register("defense", "ttc")
@dataclass(frozen=True, kw_only=True)
class TTC(Defense):
    """Counterattacks the image at test time, away from what the encoder sees in it (TTC, CVPR 2025).

    A random nudge within ``eps`` moves the vector of an attacked image suspiciously little. Such an
    image is moved by sign steps that ascend the distance to its own vector; of the steps a weighted
    mean is taken. Any other image keeps the nudge, as in the published code. It costs
    ``steps + 2`` forwards and ``steps`` backwards.

    Attributes:
        eps: radius of nudge and counterattack, L∞ in pixel units.
        steps: of the counterattack.
        step: length of each, in pixel units.
        stable_below: the share of its length by which the nudge moves a vector that is not stable, at least.
        beta: how much more later steps count, as the slope of a softmax.
        original: a model by name, whose vectors tell what is stable: the original of a fine-tuned
            model; empty takes the guarded model's own.

    Raises:
        InvalidInput: a number out of range, or, in front of a model, no embedder.
    """

    eps: Weight = 4 / 255
    steps: Natural = 2
    step: Positive = 1 / 255
    stable_below: Weight = 0.2
    beta: float = 2.0
    original: Any = ""

    @property
    def stochastic(self) -> bool:
        """Whether there is a nudge."""
        return self.eps > 0

    def adaptation(self, model: Model) -> Counterattack:
        """The counterattack on the embedder of ``model``."""
        original = models_of(self.original, Embedder, "original", "scenes:clip")[0] if self.original else None
        return Counterattack(answering(model, "ttc"), embedder_of(model, "ttc"), original, self)
