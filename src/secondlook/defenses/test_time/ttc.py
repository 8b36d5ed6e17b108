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
        gate: whose vectors tell whether an image is falsely stable; None for the same embedder.
        settings: of the defense.
    """

    unrolls = False

    def __init__(self, model: Classifier | Embedder, embedder: Embedder, gate: Embedder | None, settings: TTC) -> None:
        super().__init__(model)
        self.embedder, self.gate, self.settings = embedder, gate, settings

    @property
    def parts(self) -> tuple[Model, ...]:
        """The embedder of the gate, where it is another."""
        return () if self.gate is None else (self.gate,)

    def counter(self, x: Tensor, keys: Keys) -> Tensor:
        """The image and the mean of the counterattack's steps, or the nudge alone where it is not stable."""
        eps, own = self.settings.eps, self.embedder.raw_vectors(x).detach()
        nudge = _inside(x, eps * (2 * keys.fold("nudge").uniform(x.shape[1:], like=x) - 1))
        points, first = [nudge], self.embedder.raw_vectors(x + nudge).detach() if not self.settings.steps else None

        def distance(at: Tensor) -> Tensor:
            nonlocal first
            seen = self.embedder.raw_vectors(x + at)
            first = seen.detach() if first is None else first
            return (seen - own).square().sum(1)

        for _ in range(self.settings.steps):
            away = slope(distance, points[-1]).sign()
            points.append(_inside(x, (points[-1] + self.settings.step * away).clamp(-eps, eps)))
        assert first is not None
        stable = self._moved(x, nudge, own, first) < self.settings.stable_below
        weights = step_weights(self.settings.steps, self.settings.beta).to(x)
        counter = (torch.stack(points, 1) * weights.view(-1, 1, 1, 1)).sum(1)
        return (x + torch.where(stable.view(-1, 1, 1, 1), counter, nudge)).clamp(0, 1)

    def _moved(self, x: Tensor, nudge: Tensor, own: Tensor, nudged: Tensor) -> Tensor:
        """How far the nudge moves the vector, as a share of its length, ``[B]``."""
        if self.gate is not None:
            own, nudged = (self.gate.raw_vectors(at).detach() for at in (x, x + nudge))
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
        gate: a model by name, whose vectors tell what is stable: the original of a fine-tuned
            model; empty takes the guarded model's own.

    Raises:
        InvalidInput: a number out of range, or, in front of a model, no embedder.
    """

    eps: Weight = 4 / 255
    steps: Natural = 2
    step: Positive = 1 / 255
    stable_below: Weight = 0.2
    beta: float = 2.0
    gate: Any = ""

    @property
    def stochastic(self) -> bool:
        """Whether there is a nudge."""
        return self.eps > 0

    def adaptation(self, model: Model) -> Counterattack:
        """The counterattack on the embedder of ``model``."""
        gate = models_of(self.gate, Embedder, "gate", "scenes:clip")[0] if self.gate else None
        return Counterattack(answering(model, "ttc"), embedder_of(model, "ttc"), gate, self)
