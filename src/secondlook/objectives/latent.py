"""The latent loss: how far what the model sees has moved, whatever it is then called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.attacks.base import Evaluation
from secondlook.objectives.base import GuardedObjective
from secondlook.randomness import Keys


@dataclass(frozen=True, kw_only=True)
class LatentDistance:
    """An untargeted objective whose loss is the distance between the features of an input and of the clean one.

    It knows no classes: a vector that has gone far enough is not led back by a defense that moves it a
    little. How far an input is from being accepted is added where a detector may reject it.

    Attributes:
        objective: says when the goal is reached.
        origin: unit features of the clean inputs, ``[B, D]``; empty until :meth:`anchored`.
    """

    objective: GuardedObjective
    origin: Tensor

    @property
    def parts(self) -> Sequence[LatentDistance]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the objective."""
        return self.objective.modules

    @property
    def draws(self) -> int:
        """Fresh draws of a randomized victim in each step."""
        return self.objective.draws

    def anchored(self, clean: Tensor, keys: Keys) -> LatentDistance:
        """The same with the features of clean inputs, the mean over the draws, to go away from."""
        own = self.objective
        with torch.no_grad():
            seen = own.victim.surrogate(clean, keys.fold("origin"), own.draws, own.gradient)
        return replace(self, origin=F.normalize(seen.features.float().flatten(2).mean(1), dim=-1))

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """One less the cosine, mean over the draws, and the shortfall of acceptance, ``[B]``; success is the goal's."""
        own = self.objective
        seen = own.victim.surrogate(x, keys, own.draws, own.gradient)
        features = F.normalize(seen.features.float().flatten(2), dim=-1)
        distance = 1 - (features * self.origin[:, None]).sum(2).mean(1)
        return Evaluation(distance + seen.shortfall, own.goal.success(seen))

    def take(self, rows: Tensor) -> LatentDistance:
        """The same objective for some of the samples."""
        origin = self.origin[rows] if len(self.origin) else self.origin
        return LatentDistance(objective=self.objective.take(rows), origin=origin)
