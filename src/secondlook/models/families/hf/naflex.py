"""SigLIP 2 with NaFlex: pictures keep their shape and become a budget of patches."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.models.families.hf.bundle import Bundle
from secondlook.models.families.hf.embedders import HubEmbedder, pooled
from secondlook.models.families.hf.processors import affine, kernel
from secondlook.models.io.preprocessing import Filter, resampled


@dataclass(frozen=True, kw_only=True)
class Patches:
    """Resize to as many patches as the budget allows, normalize, cut up (arXiv 2502.14786).

    Attributes:
        patch: height and width of a patch, in pixels.
        budget: patches at most; the sequence is padded to so many.
        filter: the kernel of the resize.
        mean: per channel, of pixels in [0, 1].
        std: per channel.
        rounding: whether the resize rounds to 8 bits; without it, it has a derivative.
    """

    patch: int
    budget: int
    filter: Filter
    mean: tuple[float, ...]
    std: tuple[float, ...]
    rounding: bool = True

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of patches of a picture.

        They are the most that one scale on both edges, each rounded up to whole patches, gets into
        the budget. A scale at which a number of patches changes is that of ``k`` whole patches
        along one edge, so these are all the candidates.
        """
        tall = ((k, math.ceil(width * k / height)) for k in range(1, self.budget + 1))
        wide = ((math.ceil(height * k / width), k) for k in range(1, self.budget + 1))
        fitting = [pair for pair in (*tall, *wide) if math.prod(pair) <= self.budget]
        return max(fitting, key=math.prod)

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Pixels ``[B, 3, H, W]`` in [0, 1] to patches ``[B, budget, patch * patch * 3]``.

        With them, under the names of transformers: which of them are no padding, ``[B, budget]``,
        and rows and columns, ``[B, 2]``.
        """
        rows, columns = self.grid(x.shape[-2], x.shape[-1])
        x = resampled(x, rows * self.patch, columns * self.patch, self.filter, self.rounding)
        mean, std = (x.new_tensor(v).view(3, 1, 1) for v in (self.mean, self.std))
        cut = ((x - mean) / std).unflatten(3, (columns, -1)).unflatten(2, (rows, -1))
        flat = cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        spare = self.budget - rows * columns
        mask = torch.ones(len(x), rows * columns, dtype=torch.int32, device=x.device)
        shape = torch.tensor([rows, columns], device=x.device).expand(len(x), 2)
        return {
            "pixel_values": F.pad(flat, (0, 0, 0, spare)),
            "pixel_attention_mask": F.pad(mask, (0, spare)),
            "spatial_shapes": shape,
        }


class NaFlexEmbedder(HubEmbedder):
    """SigLIP 2 with NaFlex. Its own input size is the largest square in its budget of patches."""

    def prepare(self, bundle: Bundle) -> tuple[int, int] | None:
        self.processor = given = bundle.image_processor()
        mean, std = affine(given)
        self.patches = Patches(
            patch=given.patch_size, budget=given.max_num_patches, filter=kernel(given, self.name), mean=mean, std=std
        )
        side = given.patch_size * math.isqrt(given.max_num_patches)
        return (side, side) if bundle.resolution == "input" else None

    def encode_image(self, x: Tensor) -> Tensor:
        return pooled(self.network.get_image_features(**self.patches(x)))
