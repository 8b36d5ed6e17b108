"""Adversarial illusions: an input that is embedded where the attacker wants it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from torch import Tensor

from secondlook.attacks.pgd import PGD
from secondlook.bounds import Bounds, Count, Part
from secondlook.models.purifiers.jpeg import JpegPurifier, check_quality
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.signals import IMAGE
from secondlook.threat import Length, Threat

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
        jpeg: compress each iterate at this quality, 1 to 95, before the objective sees it (section
            *JPEG-resistant*); 0 does not. The gradient goes back through the soft codec
            (:mod:`secondlook.models.purifiers.jpeg`); as published it goes past the codec, which is
            weaker.
        ensemble: ``sequential`` as published, or ``mean``.

    Raises:
        InvalidInput: a ``jpeg`` that Pillow does not have; or as :class:`PGD` raises it.
    """

    steps: Count = 300
    step: Length = PUBLISHED_STEP
    decay: Part = 0.9
    random_start: bool = False
    keep_best: bool = False
    jpeg: Annotated[int, Bounds(0, 95)] = 0
    ensemble: Literal["sequential", "mean"] = "sequential"

    def __post_init__(self) -> None:
        if self.jpeg:
            check_quality(self.jpeg, "jpeg")

    def step_length(self, step: int, threat: Threat, clean: Tensor) -> float | Tensor:
        """The published step is one of L∞ in images; else it is 2.5 eps / steps unless another is given."""
        if (threat.norm != "linf" or threat.signal is not IMAGE) and self.step == PUBLISHED_STEP:
            return replace(self, step=0.0).step_length(step, threat, clean)
        return super().step_length(step, threat, clean)

    def view(self, x: Tensor, keys: Keys) -> Tensor:
        """The iterate, or its JPEG."""
        return JpegPurifier(self.jpeg).reconstruct(x, keys) if self.jpeg else x
