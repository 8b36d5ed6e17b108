"""An image-text embedder of small photographs, which brings its own words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from secondlook.scenes.networks.clip import TextTower
from secondlook.scenes.networks.layers import Residual, conv, unit
from secondlook.scenes.tokenizer import Tokenizer

PHOTO_SIDE: Final = 32
"""Width and height of the photographs that it was made for, those of CIFAR-10."""


class PhotoTower(nn.Sequential):
    """``[B, 3, 32, 32] -> [B, dim]``: a residual network of nine layers (Page 2018, narrower)."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__(
            conv(3, width),
            conv(width, 2 * width), nn.MaxPool2d(2),
            Residual(nn.Sequential(conv(2 * width, 2 * width), conv(2 * width, 2 * width))),
            conv(2 * width, 4 * width), nn.MaxPool2d(2),
            conv(4 * width, 8 * width), nn.MaxPool2d(2),
            Residual(nn.Sequential(conv(8 * width, 8 * width), conv(8 * width, 8 * width))),
            nn.AdaptiveMaxPool2d(1), nn.Flatten(),
            nn.Linear(8 * width, dim),
        )  # fmt: skip


class PhotoNetwork(nn.Module):
    """Two towers and a temperature; pixels in [0, 1] are normalised inside.

    ``words`` is the vocabulary; it stands in the card, so that weights and words stay together.
    """

    def __init__(self, *, words: Sequence[str], dim: int = 128, width: int = 32) -> None:
        super().__init__()
        self.tokenizer = Tokenizer(words=tuple(words))
        self.image = PhotoTower(dim, width)
        self.text = TextTower(self.tokenizer.size, dim)
        self.log_scale = nn.Parameter(torch.tensor(2.7))

    def embed_image(self, x: Tensor) -> Tensor:
        """``[B, 3, 32, 32]`` in [0, 1] to unit vectors ``[B, D]``."""
        return unit(self.image((x - 0.5) / 0.25))

    def embed_text(self, ids: Tensor) -> Tensor:
        """Token ids ``[B, L]`` to unit vectors ``[B, D]``."""
        return unit(self.text(ids))
