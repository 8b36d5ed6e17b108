"""VMI-FGSM, which corrects each gradient by how it differed from those nearby a step before."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from secondlook.attacks.base import Objective, Passes
from secondlook.attacks.mi_fgsm import MIFGSM
from secondlook.attacks.pgd import Iterate, random_point
from secondlook.bounds import Natural, Weight
from secondlook.registry import register
from secondlook.threat import Threat


@register("attack", "vmi-fgsm")
@dataclass(frozen=True, kw_only=True)
class VMIFGSM(MIFGSM):
    """MI-FGSM with variance tuning (Wang & He 2021, arXiv 2103.15571).

    A neighbor is an image: where the published code leaves [0, 1] it is clipped here.

    Attributes:
        neighbors: gradients that are averaged around each iterate, N.
        beta: how far off they are taken, in units of eps.

    Raises:
        InvalidInput: a number below zero.
    """

    neighbors: Natural = 20
    beta: Weight = 1.5

    def passes(self, objective: Objective, threat: Threat) -> Passes:
        """Those of PGD, and the gradients around each iterate."""
        around = self.neighbors if self.beta else 0
        return super().passes(objective, threat) + Passes(self.steps * len(objective.parts) * around)

    def direction(self, gradient: Tensor, now: Iterate) -> Tensor:
        """Momentum of the gradient plus the last step's variance."""
        tuned = gradient + now.memory.get("variance", torch.zeros_like(gradient))
        if self.neighbors and self.beta:
            now.memory["variance"] = self._mean_nearby(now) - gradient
        return super().direction(tuned, now)

    def _mean_nearby(self, now: Iterate) -> Tensor:
        """The mean gradient at random points around the iterate, ``[A, ...]``."""
        reach = self.beta * now.threat.eps
        if now.threat.norm == "snr":  # so many decibels below, about the iterate
            reach = now.threat.eps - 20 * math.log10(self.beta)
        around = replace(now.threat, eps=min(reach, 1) if now.threat.norm == "linf" else reach, grid=None)
        total = torch.zeros_like(now.x)
        for neighbor in range(self.neighbors):
            keys = now.keys.fold("neighbor", neighbor)
            gradient, _ = self.gradient(now.objective, random_point(now.x, around, keys), keys)
            total += torch.nan_to_num(gradient, 0.0, 0.0, 0.0)
        return total / self.neighbors
