"""Random crops at the size of the image, with a gradient: what test-time augmentation is mostly made of."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.randomness import Keys

TRIES: Final = 10
"""Draws of a box's shape; where none of them fits, the whole image is taken."""
RATIO: Final = (3 / 4, 4 / 3)
"""Width over height of a box."""


def resized_crops(x: Tensor, keys: Keys, count: int, least: float, flip: bool = False) -> Tensor:
    """Random boxes of each image, each brought back to the image's size, ``[B, count, C, H, W]``.

    A box has a uniform share of the area and a log-uniform ratio of its sides, and whole pixels, as
    is usual (Szegedy et al. 2015). It is enlarged bilinearly; nothing outside of it is read.

    Args:
        x: images ``[B, C, H, W]``.
        keys: one for each image.
        count: boxes of each.
        least: the least share of the area.
        flip: whether every second one, by chance, is mirrored.
    """
    boxes = drawn_boxes(keys, count, least, *x.shape[-2:]).to(x)
    rows, columns = (_inside(boxes[..., at], boxes[..., 2 + at], x.shape[-2 + at]) for at in (0, 1))
    if flip:
        mirrored = keys.fold("flip").uniform((count,)).to(x.device) < 0.5
        columns = torch.where(mirrored[..., None], columns.flip(-1), columns)
    grid = torch.stack(torch.broadcast_tensors(columns[..., None, :], rows[..., None]), -1)
    wide = x.repeat_interleave(count, 0)
    crops = F.grid_sample(wide, grid.flatten(0, 1), padding_mode="border", align_corners=False)
    found: Tensor = crops.unflatten(0, (len(x), count)).clamp(0, 1)
    return found


def drawn_boxes(keys: Keys, count: int, least: float, height: int, width: int) -> Tensor:
    """Top, left, height and width of random boxes in pixels, ``[B, count, 4]`` whole numbers."""
    area, ratio, top, left = keys.fold("boxes").uniform((count, TRIES, 4)).double().unbind(-1)
    area = (least + (1 - least) * area) * height * width
    low, high = (math.log(end) for end in RATIO)
    ratio = torch.exp(low + (high - low) * ratio)
    tall, wide = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
    fits = (tall >= 1) & (tall <= height) & (wide >= 1) & (wide <= width)
    top, left = (top * (height - tall + 1)).floor(), (left * (width - wide + 1)).floor()
    first = fits.int().argmax(-1, keepdim=True)
    found = torch.stack([top, left, tall, wide], -1).gather(2, first[..., None].expand(-1, -1, -1, 4))[:, :, 0]
    whole = found.new_tensor([0, 0, height, width])
    return torch.where(fits.any(-1, keepdim=True), found, whole)


def _inside(first: Tensor, length: Tensor, side: int) -> Tensor:
    """Where a side of pixels lies in boxes ``[B, V]`` along it, ``[B, V, side]``, from -1 to 1 over the image."""
    at = first[..., None] + (torch.arange(side).to(first) + 0.5) * length[..., None] / side - 0.5
    at = torch.minimum(torch.maximum(at, first[..., None]), (first + length - 1)[..., None])
    return (2 * at + 1) / side - 1
