"""Adversarial illusions: an input that is embedded where the attacker wants it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from secondlook.attacks.pgd import PGD
from secondlook.models.purifiers.jpeg import compress
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Pixels, Threat

PUBLISHED_STEP = 0.02 * 0.2686
"""The published step is 0.02 in CLIP-normalized space: 1.37/255 of a pixel (mean channel)."""


@register("attack", "illusion")
@dataclass(frozen=True, kw_only=True)
class Illusion(PGD):
    """Targeted cross-modal illusion: sign steps towards a chosen embedding (arXiv 2308.11804).

    The defaults are the published schedule: no random start, no momentum, the step times 0.9
    every 300 steps, the last iterate kept. Against several surrogates one step is taken for each
    of them in turn, or one for the mean of their gradients.

    Attributes:
        jpeg: compress each iterate at this quality before the gradient is taken there, which is
            not propagated through the codec (section *JPEG-resistant*); 0 does not.
        ensemble: ``sequential`` as published, or ``mean``.
    """

    steps: int = 300
    step: Pixels = PUBLISHED_STEP
    decay: float = 0.9
    random_start: bool = False
    keep_best: bool = False
    jpeg: int = 0
    ensemble: Literal["sequential", "mean"] = "sequential"

    def step_length(self, step: int, threat: Threat) -> float:
        """The published step is one of L∞; else it is 2.5 eps / steps unless another is given."""
        if threat.norm != "linf" and self.step == PUBLISHED_STEP:
            return replace(self, step=0.0).step_length(step, threat)
        return super().step_length(step, threat)

    def view(self, x: Tensor, keys: Keys) -> Tensor:
        """The iterate, or its JPEG; the gradient at the JPEG is taken for the iterate's own."""
        # What is added is zero, and has the gradient.
        return compress(x, self.jpeg) + (x - x.detach()) if self.jpeg else x
