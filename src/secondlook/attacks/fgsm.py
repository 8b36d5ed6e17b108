"""The fast gradient sign method: the whole way in one step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from torch import Tensor

from secondlook.attacks.pgd import PGD
from secondlook.bounds import Count
from secondlook.registry import register
from secondlook.threat import Threat

FREE: Final = 20
"""Steps of a search without a bound."""


@register("attack", "fgsm")
@dataclass(frozen=True, kw_only=True)
class FGSM(PGD):
    """One step of the whole radius along the gradient (Goodfellow et al. 2015).

    With more steps, each of eps / steps, it is the basic iterative method (Kurakin et al. 2017).
    """

    steps: Count = 1
    random_start: bool = False
    keep_best: bool = False

    def unbounded(self) -> FGSM:
        """With many steps: one across the whole pixel range says nothing of what lies between."""
        return replace(self, step=0.0, steps=max(self.steps, FREE))

    def automatic_step(self, threat: Threat, clean: Tensor) -> float | Tensor:
        """The length with which all steps together just reach the sphere."""
        return threat.radius(clean) / self.steps
