"""Qwen-VL: pictures keep their shape, and are cut into patches that are merged by squares."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.models.hf.bundle import Bundle
from secondlook.models.hf.chat import ChatCaptioner
from secondlook.models.hf.processors import affine, kernel
from secondlook.models.preprocessing import Filter, Size, resampled


@dataclass(frozen=True, kw_only=True)
class MergedPatches:
    """Resize to whole squares of patches, normalise, cut up (arXiv 2409.12191, section 2.1).

    Attributes:
        patch: height and width of a patch, in pixels.
        merge: patches along an edge of a square that becomes one token.
        frames: times a still picture is repeated, for a patch is some frames deep.
        least: pixels of a picture at least.
        most: pixels of a picture at most.
        filter: the kernel of the resize.
        mean: per channel, of pixels in [0, 1].
        std: per channel.
    """

    patch: int
    merge: int
    frames: int
    least: int
    most: int
    filter: Filter
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def target(self, height: int, width: int) -> Size:
        """Height and width that a picture is resized to: the nearest that fit, in whole squares."""
        square = self.patch * self.merge
        tall, wide = (round(edge / square) for edge in (height, width))
        if tall * wide * square**2 > self.most:
            shrink = math.sqrt(height * width / self.most)
            tall, wide = (max(1, math.floor(edge / shrink / square)) for edge in (height, width))
        elif tall * wide * square**2 < self.least:
            grow = math.sqrt(self.least / (height * width))
            tall, wide = (math.ceil(edge * grow / square) for edge in (height, width))
        return tall * square, wide * square

    def tokens(self, height: int, width: int) -> int:
        """Tokens of a picture of a size."""
        return math.prod(self.target(height, width)) // (self.patch * self.merge) ** 2

    def __call__(self, x: Tensor) -> dict[str, Tensor]:
        """Pixels ``[B, 3, H, W]`` in [0, 1] to patches ``[B * P, 3 * frames * patch * patch]``.

        With them, under the names of transformers, their grid: frames, rows, columns, ``[B, 3]``.
        """
        height, width = self.target(x.shape[-2], x.shape[-1])
        if x.shape[-2:] != (height, width):
            x = resampled(x, height, width, self.filter)
        mean, std = (x.new_tensor(v).view(3, 1, 1) for v in (self.mean, self.std))
        across = (-1, self.merge, self.patch)
        cut = ((x - mean) / std).unflatten(3, across).unflatten(2, across)
        # Squares by rows, the patches in each by rows, then channel, frame, and pixels by rows.
        squares = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)[:, :, :, :, :, :, None]
        flat = squares.expand(*[-1] * 6, self.frames, -1, -1).flatten(5).flatten(0, 4)
        grid = torch.tensor([1, height // self.patch, width // self.patch], device=x.device)
        return {"pixel_values": flat, "image_grid_thw": grid.expand(len(x), 3)}


class QwenCaptioner(ChatCaptioner):
    """Qwen2-VL (arXiv 2409.12191), Qwen2.5-VL (arXiv 2502.13923) and Qwen3-VL.

    Attributes:
        patches: from pixels to what its image tower takes.
    """

    def sized(self, bundle: Bundle) -> tuple[int, int] | None:
        given = bundle.image_processor()
        mean, std = affine(given)
        self.patches = MergedPatches(
            patch=given.patch_size, merge=given.merge_size, frames=given.temporal_patch_size,
            least=given.size["shortest_edge"], most=given.size["longest_edge"],
            filter=kernel(given, self.name), mean=mean, std=std,
        )  # fmt: skip
        # Before release 5 the network finds the image's tokens by itself.
        reads = inspect.signature(self.network.forward).parameters
        self.kinds = "mm_token_type_ids" in reads
        return None

    def pictures(self, x: Tensor) -> dict[str, Tensor]:
        return self.patches(x)

    def places(self, x: Tensor) -> str:
        return self.mark * self.patches.tokens(x.shape[-2], x.shape[-1])

    def given(self, x: Tensor, ids: Tensor) -> dict[str, Tensor]:
        made = super().given(x, ids)
        if self.kinds:
            made["mm_token_type_ids"] = (ids == self.network.config.image_token_id).int()
        return made
