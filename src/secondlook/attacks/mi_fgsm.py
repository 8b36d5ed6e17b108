"""MI-FGSM, whose steps agree with those before and so transfer better."""

from __future__ import annotations

from dataclasses import dataclass

from secondlook.attacks.fgsm import FGSM
from secondlook.bounds import Count, Weight
from secondlook.registry import register


@register("attack", "mi-fgsm")
@dataclass(frozen=True, kw_only=True)
class MIFGSM(FGSM):
    """Steps of eps / steps along the sum of all normalized gradients (Dong et al. 2018)."""

    steps: Count = 10
    momentum: Weight = 1.0
