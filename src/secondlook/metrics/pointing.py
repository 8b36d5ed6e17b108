"""Heat maps held against boxes: the pointing game, the overlap, and the share of heat inside."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy import ndimage
from torch import Tensor

from secondlook.errors import InvalidInput


class Pointed(NamedTuple):
    """How well maps fit boxes.

    Attributes:
        hit: whether the hottest pixel is inside, ``[B]`` (pointing game, Zhang et al. 2016).
        overlap: intersection over union of the box around the heat and the true one, ``[B]``.
        inside: share of the heat that is inside, ``[B]`` (Wang et al. 2020, section 4.3).
    """

    hit: Tensor
    overlap: Tensor
    inside: Tensor


def pointed(heat: Tensor, boxes: Tensor, threshold: float = 0.5) -> Pointed:
    """Holds maps against boxes. A map that is zero everywhere points nowhere and overlaps nothing.

    Args:
        heat: ``[B, H, W]``, from 0 on.
        boxes: ``[B, 4]``: left, top, width and height as shares of the image.
        threshold: the box around the heat holds the largest connected region of the pixels that
            have this share of the peak (Selvaraju et al. 2017, section 4.1, take 0.15).

    Raises:
        InvalidInput: not as many boxes as maps, or a threshold outside (0, 1].

    Example:
        >>> heat = torch.zeros(1, 4, 4)
        >>> heat[0, :2, :2] = 1
        >>> found = pointed(heat, torch.tensor([[0, 0, 0.5, 1]]))
        >>> found.hit.item(), found.overlap.item(), found.inside.item()
        (True, 0.5, 1.0)
    """
    if boxes.shape != (len(heat), 4):
        raise InvalidInput(f"boxes are {tuple(boxes.shape)}; {len(heat)} maps need as many of 4")
    if not 0 < threshold <= 1:
        raise InvalidInput(f"threshold={threshold:g} is outside (0, 1]; 0.5 is half of the peak")
    mask = masks(boxes.to(heat), heat.shape[1], heat.shape[2])
    warm = heat.flatten(1).amax(1) > 0
    peak = mask.flatten(1).gather(1, heat.flatten(1).argmax(1, keepdim=True))[:, 0]
    total = heat.sum((1, 2))
    inside = torch.where(warm, (heat * mask).sum((1, 2)) / total.clamp_min(1e-12), 0.0)
    regions = torch.tensor([_region(each, threshold) for each in heat]).reshape(-1, 4).to(heat)
    overlap = torch.where(warm, _overlaps(regions, boxes.to(heat)), 0.0)
    return Pointed(hit=peak & warm, overlap=overlap, inside=inside)


def masks(boxes: Tensor, height: int, width: int) -> Tensor:
    """The pixels whose middle is inside each box, ``[B, H, W]`` bool."""
    x = (torch.arange(width).to(boxes) + 0.5) / width
    y = (torch.arange(height).to(boxes) + 0.5) / height
    left, top, wide, high = (side[:, None] for side in boxes.T)
    across: Tensor = (x >= left) & (x <= left + wide)
    down: Tensor = (y >= top) & (y <= top + high)
    return down[:, :, None] & across[:, None, :]


def _region(heat: Tensor, threshold: float) -> tuple[float, float, float, float]:
    """The box around the largest connected warm region, as shares: left, top, width, height."""
    warm = (heat >= threshold * heat.max()).cpu().numpy()
    regions, count = ndimage.label(warm)
    sizes = ndimage.sum_labels(warm, regions, range(1, count + 1))
    down, across = ndimage.find_objects(regions)[int(sizes.argmax())]
    height, width = warm.shape
    return (
        across.start / width,
        down.start / height,
        (across.stop - across.start) / width,
        (down.stop - down.start) / height,
    )


def _overlaps(one: Tensor, other: Tensor) -> Tensor:
    """Intersection over union of boxes ``[B, 4]``, pair by pair."""
    low = torch.maximum(one[:, :2], other[:, :2])
    high = torch.minimum(one[:, :2] + one[:, 2:], other[:, :2] + other[:, 2:])
    shared = (high - low).clamp_min(0).prod(1)
    both = one[:, 2:].prod(1) + other[:, 2:].prod(1) - shared
    return shared / both.clamp_min(1e-12)
