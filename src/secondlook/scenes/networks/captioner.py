"""A small network that puts a scene into words: convolutions that look, attention that tells."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.scenes.networks.layers import Residual, conv
from secondlook.scenes.tokenizer import PAD


class Attention(nn.Module):
    """Attention of ``x`` ``[B, L, W]`` to ``seen`` ``[B, M, W]``; causal where both are one."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.rest = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, seen: Tensor, causal: bool = False) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(x), *self.rest(seen).chunk(2, -1))
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class Telling(nn.Module):
    """A pre-norm block that reads the words so far, then the picture."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.words, self.picture = Attention(width, heads), Attention(width, heads)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        read = self.norms[0](x)
        x = x + self.words(read, read, causal=True)
        x = x + self.picture(self.norms[1](x), picture)
        out: Tensor = x + self.mlp(self.norms[2](x))
        return out


class CaptionerNetwork(nn.Module):
    """Pixels and the words so far to scores of the next word; pixels are normalised inside.

    Its eyes are its own and no copy of an embedder's, so that the two can be fooled apart.
    """

    def __init__(
        self, *, vocabulary: int, width: int = 80, depth: int = 2, heads: int = 4, context: int = 48
    ) -> None:
        super().__init__()
        self.eyes = nn.Sequential(
            conv(3, 32, stride=2, kernel=5),
            conv(32, 64, stride=2),
            Residual(conv(64, 64)),
            conv(64, 96, stride=2),
            Residual(conv(96, 96)),
            nn.Conv2d(96, width, 1),
        )
        self.place = nn.Parameter(0.02 * torch.randn(1, 64, width))
        self.looked = nn.LayerNorm(width)
        self.words = nn.Embedding(vocabulary, width, padding_idx=PAD)
        self.position = nn.Parameter(0.02 * torch.randn(1, context, width))
        self.blocks = nn.ModuleList(Telling(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def look(self, x: Tensor) -> Tensor:
        """``[B, 3, 64, 64]`` in [0, 1] to what is seen at 8×8 places, ``[B, 64, W]``."""
        seen = self.eyes((x - 0.5) / 0.25).flatten(2).transpose(1, 2)
        out: Tensor = self.looked(seen + self.place)
        return out

    def tell(self, seen: Tensor, ids: Tensor) -> Tensor:
        """Scores ``[B, L, V]`` of the word after each of ``ids`` ``[B, L]``, the begin mark first.

        ``B`` may be a multiple of the pictures': the texts of one picture lie side by side.
        """
        x = self.words(ids) + self.position[:, : ids.shape[1]]
        picture = seen.repeat_interleave(len(ids) // len(seen), 0)
        for block in self.blocks:
            x = block(x, picture)
        out: Tensor = self.head(self.norm(x))
        return out
