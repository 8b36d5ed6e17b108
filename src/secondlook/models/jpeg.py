"""JPEG as a purifier: Pillow's own codec, there and back."""

from __future__ import annotations

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.base import Purifier
from secondlook.randomness import Keys


def compress(x: Tensor, quality: int) -> Tensor:
    """Each image ``[B, 3, H, W]`` in [0, 1] after JPEG at ``quality``, off the graph."""
    pixels = (x.detach() * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    out = torch.from_numpy(np.stack([_there_and_back(image, quality) for image in pixels]))
    return out.permute(0, 3, 1, 2).to(x) / 255


def _there_and_back(image: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    held = io.BytesIO()
    Image.fromarray(image).save(held, format="JPEG", quality=quality)
    return np.asarray(Image.open(held))


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    """``value`` on the way forward, the gradient of ``x`` on the way back (BPDA's identity)."""
    return x + (value - x).detach()


class JpegPurifier(Purifier):
    """JPEG compression; deterministic, its rounding has no gradient of use.

    Raises:
        InvalidInput: a quality outside Pillow's 1 to 95.
    """

    stochastic = False
    differentiable = False

    def __init__(self, quality: int = 75) -> None:
        if not 1 <= quality <= 95:
            raise InvalidInput(f"quality={quality} is outside 1 to 95; Pillow's default is 75")
        self.quality, self.name = quality, f"jpeg:{quality}"

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        """Each image compressed and read again."""
        return compress(x, self.quality)
