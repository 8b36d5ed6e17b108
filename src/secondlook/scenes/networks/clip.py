"""Image-text embedders: one of several image towers beside a text tower."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.scenes.networks.eyes import MixerTower, NarrowTower
from secondlook.scenes.networks.layers import Block, Residual, conv, unit

Tower = Literal["conv", "vit", "narrow", "mixer"]


class ConvTower(nn.Sequential):
    """``[B, 3, 64, 64] -> [B, dim]`` by strided and residual convolutions."""

    def __init__(self, dim: int) -> None:
        super().__init__(
            conv(3, 32, stride=2, kernel=5),
            Residual(conv(32, 32)),
            conv(32, 64, stride=2),
            Residual(conv(64, 64)),
            conv(64, 128, stride=2),
            Residual(conv(128, 128)),
            Residual(conv(128, 128)),
            conv(128, 32, kernel=1),
            nn.Flatten(),
            nn.Linear(32 * 64, dim),
        )


class VitTower(nn.Module):
    """``[B, 3, 64, 64] -> [B, dim]``: a convolutional stem, then attention over 8×8 patches."""

    def __init__(self, dim: int, width: int = 128, depth: int = 3, heads: int = 4) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv(3, 32, stride=2), Residual(conv(32, 32)),
            conv(32, 64, stride=2), Residual(conv(64, 64)),
            nn.Conv2d(64, width, 2, 2),
        )  # fmt: skip
        self.position = nn.Parameter(0.02 * torch.randn(1, 64, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.narrow = nn.Linear(width, 32)
        self.head = nn.Linear(32 * 64, dim)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.stem(x).flatten(2).transpose(1, 2) + self.position
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.head(F.gelu(self.narrow(self.norm(tokens))).flatten(1))
        return out


class TextTower(nn.Module):
    """Token ids ``[B, L]`` (0 pads) ``-> [B, dim]``: attention, then the mean over the words."""

    def __init__(
        self, vocabulary: int, dim: int, width: int = 128, depth: int = 2, context: int = 48
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, width, padding_idx=0)
        self.position = nn.Parameter(0.02 * torch.randn(1, context, width))
        self.blocks = nn.ModuleList(Block(width, 4) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, dim)

    def forward(self, ids: Tensor) -> Tensor:
        mask = ids != 0
        x = self.words(ids) + self.position[:, : ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        weight = mask[..., None].to(x.dtype)
        pooled = (self.norm(x) * weight).sum(1) / weight.sum(1)
        out: Tensor = self.head(pooled)
        return out


TOWERS: Final = MappingProxyType[Tower, Callable[[int], nn.Module]]({
    "conv": ConvTower, "vit": VitTower, "narrow": NarrowTower, "mixer": MixerTower,
})  # fmt: skip
"""What can look, by name."""


class ClipNetwork(nn.Module):
    """Two towers and a temperature; pixels in [0, 1] are normalised inside."""

    def __init__(self, *, tower: Tower, vocabulary: int, dim: int = 256, words: int = 128) -> None:
        super().__init__()
        self.image: nn.Module = TOWERS[tower](dim)
        self.text = TextTower(vocabulary, dim, words)
        self.log_scale = nn.Parameter(torch.tensor(2.7))

    def embed_image(self, x: Tensor) -> Tensor:
        """``[B, 3, 64, 64]`` in [0, 1] to unit vectors ``[B, D]``."""
        return unit(self.image((x - 0.5) / 0.25))

    def embed_text(self, ids: Tensor) -> Tensor:
        """Token ids ``[B, L]`` to unit vectors ``[B, D]``."""
        return unit(self.text(ids))
