"""How encoders of CLIP's line were shown photographs: bicubic, in a square, normalised."""

from __future__ import annotations

from typing import Final

from secondlook.models.preprocessing import Preprocessing

MEAN: Final = (0.48145466, 0.4578275, 0.40821073)
"""Per channel, of the images that CLIP was trained on (arXiv 2103.00020)."""
DEVIATION: Final = (0.26862954, 0.26130258, 0.27577711)
"""Their standard deviation per channel."""


def centred(side: int) -> Preprocessing:
    """The shorter side resized to ``side``, then the square in the middle."""
    square = (side, side)
    return Preprocessing(
        fit="shortest", edge=square, crop=square, middle="even", mean=MEAN, std=DEVIATION
    )


def squeezed(side: int) -> Preprocessing:
    """Both sides resized to ``side``, whatever they were."""
    return Preprocessing(fit="exact", edge=(side, side), mean=MEAN, std=DEVIATION)
