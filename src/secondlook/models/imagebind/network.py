"""The network of ImageBind, whose state dict is the published one, name by name."""

from __future__ import annotations

from typing import Final

from torch import Tensor, nn

from secondlook.models.imagebind.arguments import MODALITIES, Arguments, Modality
from secondlook.models.imagebind.heads import heads, scales
from secondlook.models.imagebind.stems import stems
from secondlook.models.imagebind.transformer import Trunk

_CLIPS: Final = 5


class ImageBindNetwork(nn.Module):
    """One stem, trunk and head a modality, into one space (arXiv 2305.05665, section 3)."""

    def __init__(self, sizes: Arguments) -> None:
        super().__init__()
        self.modality_preprocessors = nn.ModuleDict(stems(sizes))
        self.modality_trunks = nn.ModuleDict({
            name: Trunk(
                *sizes.tower(name),
                bias_kv=name not in ("vision", "text"),
                pre_norm=name == "vision",
            )
            for name in MODALITIES
        })  # fmt: skip
        self.modality_heads = nn.ModuleDict(heads(sizes))
        self.modality_postprocessors = nn.ModuleDict(scales())

    def head(self, modality: Modality, x: Tensor) -> Tensor:
        """What the head says of each clip, before any normalisation, ``[B * clips, D]``."""
        x = x.flatten(0, 1) if x.dim() >= _CLIPS else x
        stem, head = self.modality_preprocessors[modality], self.modality_heads[modality]
        mask = stem.mask if modality == "text" else None
        hidden = self.modality_trunks[modality](stem(x), mask)
        out: Tensor = head(hidden, x) if modality == "text" else head(hidden)
        return out

    def forward(self, modality: Modality, x: Tensor) -> Tensor:
        """Vectors ``[B, D]``: unit ones, stretched by the modality's scale.

        An input of five or more dimensions has clips in the second; their vectors are averaged
        after the stretch, and the average is left as long as it comes out.
        """
        out: Tensor = self.modality_postprocessors[modality](self.head(modality, x))
        return out.unflatten(0, x.shape[:2]).mean(1) if x.dim() >= _CLIPS else out
