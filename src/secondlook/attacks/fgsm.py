"""The fast gradient sign method: the whole way in one step."""

from __future__ import annotations

from dataclasses import dataclass

from secondlook.attacks.pgd import PGD
from secondlook.bounds import Count
from secondlook.registry import register
from secondlook.threat import Threat


@register("attack", "fgsm")
@dataclass(frozen=True, kw_only=True)
class FGSM(PGD):
    """One step of the whole radius along the gradient (Goodfellow et al. 2015).

    With more steps, each of eps / steps, it is the basic iterative method (Kurakin et al. 2017).
    """

    steps: Count = 1
    random_start: bool = False
    keep_best: bool = False

    def automatic_step(self, threat: Threat) -> float:
        """The length with which all steps together just reach the sphere."""
        return threat.eps / self.steps
