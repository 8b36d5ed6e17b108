"""What the published files of ALBEF and TCL carry, brought to the names of the network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from torch import Tensor

from secondlook.models.albef.arguments import Arguments
from secondlook.models.positions import refitted

UNUSED: Final = MappingProxyType({
    r"(visual_encoder|text_encoder|vision_proj|text_proj)_m\..*": "momentum copies, for training",
    r"(image|text|idx)_queue|queue_ptr": "negatives of the contrastive loss, for training",
    r"temp": "the temperature of the contrastive loss; cosines need none",
    r"text_encoder\.embeddings\.position_ids": "0, 1, 2, …",
    r"text_encoder\.cls\..*": "the masked language model of pre-training",
})  # fmt: skip
"""Names that are dropped knowingly, and why; any other that the network lacks is an error."""
_UNUSED: Final = re.compile("|".join(UNUSED))
_POSITIONS: Final = "visual_encoder.pos_embed"


def adapted(weights: Mapping[str, Tensor], sizes: Arguments) -> dict[str, Tensor]:
    """The weights that the network takes, from a pre-trained or a fine-tuned checkpoint.

    Pre-training wraps the text encoder once more, as ``text_encoder.bert``, and has smaller images,
    whose positions are refitted.
    """
    named = {re.sub(r"^text_encoder\.bert\.", "text_encoder.", k): v for k, v in weights.items()}
    kept = {key: value for key, value in named.items() if not _UNUSED.fullmatch(key)}
    if _POSITIONS in kept:
        count = (sizes.image_res // sizes.vision.patch_size) ** 2
        kept[_POSITIONS] = refitted(kept[_POSITIONS], count)
    return kept
