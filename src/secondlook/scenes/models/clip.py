"""Image-text embedders of scenes and of small photographs: image towers, a text tower, adapters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import Final, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.models.base import Embedder, resized
from secondlook.scenes.captions import PROMPT
from secondlook.scenes.models.layers import Block, Residual, conv, unit
from secondlook.scenes.tokenizer import PAD, Tokenizer
from secondlook.scenes.world import SIDE


def _conv_block(inside: int, outside: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, group normalization, SiLU; an image is independent of its batch."""
    return nn.Sequential(nn.Conv2d(inside, outside, kernel, stride, kernel // 2), nn.GroupNorm(8, outside), nn.SiLU())


class NarrowTower(nn.Sequential):
    """``[B, 3, 64, 64] -> [B, dim]`` by narrow convolutions without batch normalization."""

    def __init__(self, dim: int) -> None:
        super().__init__(
            _conv_block(3, 24, stride=2, kernel=5),
            _conv_block(24, 48, stride=2),
            Residual(_conv_block(48, 48)),
            _conv_block(48, 72, stride=2),
            Residual(_conv_block(72, 72)),
            nn.Conv2d(72, 16, 1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(16 * 64, dim),
        )


class _MixerBlock(nn.Module):
    """Mixes the 8×8 positions, then the channels of each (MLP-Mixer, arXiv 2105.01601)."""

    def __init__(self, width: int, places: int = 64) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.across = nn.Sequential(nn.Linear(places, places), nn.GELU(), nn.Linear(places, places))
        self.within = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.within(self.norms[1](x))
        return out


class MixerTower(nn.Module):
    """``[B, 3, 64, 64] -> [B, dim]``: patches, a wide convolution, then mixing of positions."""

    def __init__(self, dim: int, width: int = 80, depth: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 48, 4, 4),
            nn.GELU(),
            nn.GroupNorm(1, 48),
            Residual(nn.Sequential(nn.Conv2d(48, 48, 5, padding=2, groups=48), nn.GELU())),
            nn.Conv2d(48, width, 2, 2),
        )
        self.blocks = nn.Sequential(*(_MixerBlock(width) for _ in range(depth)))
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 16), nn.GELU(), nn.Flatten(), nn.Linear(16 * 64, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.blocks(self.stem(x).flatten(2).transpose(1, 2)))
        return out


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
            conv(3, 32, stride=2),
            Residual(conv(32, 32)),
            conv(32, 64, stride=2),
            Residual(conv(64, 64)),
            nn.Conv2d(64, width, 2, 2),
        )
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

    def __init__(self, vocabulary: int, dim: int, width: int = 128, depth: int = 2, context: int = 48) -> None:
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


TOWERS: Final = MappingProxyType[Tower, Callable[[int], nn.Module]](
    {"conv": ConvTower, "vit": VitTower, "narrow": NarrowTower, "mixer": MixerTower}
)
"""Image towers by name."""


class ClipNetwork(nn.Module):
    """Two towers and a temperature; pixels in [0, 1] are normalized inside."""

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


class SceneEmbedder(Embedder):
    """A CLIP of scenes; images of another size are resized to 64×64 inside."""

    size = (SIDE, SIDE)
    prompt = PROMPT

    def __init__(self, name: str, network: ClipNetwork) -> None:
        self.name, self.network, self.modules = name, network, (network,)
        self.tokenizer = Tokenizer()

    def encode_image(self, x: Tensor) -> Tensor:
        return self.network.embed_image(resized(x, *self.size))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        ids = torch.from_numpy(self.tokenizer.encode(texts))
        # Padding is not read; without it a caption costs half, and a class prompt a fifth.
        ids = ids[:, : int((ids != PAD).sum(1).max())]
        return self.network.embed_text(ids.to(self.network.log_scale.device))


PHOTO_SIDE: Final = 32
"""Width and height of the photographs that it was made for, those of CIFAR-10."""


class PhotoTower(nn.Sequential):
    """``[B, 3, 32, 32] -> [B, dim]``: a residual network of nine layers (Page 2018, narrower)."""

    def __init__(self, dim: int, width: int) -> None:
        super().__init__(
            conv(3, width),
            conv(width, 2 * width),
            nn.MaxPool2d(2),
            Residual(nn.Sequential(conv(2 * width, 2 * width), conv(2 * width, 2 * width))),
            conv(2 * width, 4 * width),
            nn.MaxPool2d(2),
            conv(4 * width, 8 * width),
            nn.MaxPool2d(2),
            Residual(nn.Sequential(conv(8 * width, 8 * width), conv(8 * width, 8 * width))),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Linear(8 * width, dim),
        )


class PhotoNetwork(nn.Module):
    """Two towers and a temperature; pixels in [0, 1] are normalized inside.

    ``words`` is the vocabulary; it is stored in the card.
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


class PhotoEmbedder(Embedder):
    """A CLIP of photographs; images of another size are resized to 32×32 inside."""

    size = (PHOTO_SIDE, PHOTO_SIDE)
    prompt = "a photo of a {}"

    def __init__(self, name: str, network: PhotoNetwork) -> None:
        self.name, self.network, self.modules = name, network, (network,)

    def encode_image(self, x: Tensor) -> Tensor:
        return self.network.embed_image(resized(x, *self.size))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        ids = torch.from_numpy(self.network.tokenizer.encode(texts))
        return self.network.embed_text(ids.to(self.network.log_scale.device))
