"""A small network that paints a sentence: a rectified flow in the latent of the world's VAE."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.scenes.networks.autoencoder import AutoencoderNetwork
from secondlook.scenes.networks.layers import Block, sinusoid
from secondlook.scenes.tokenizer import PAD

LATENT = (8, 16, 16)
"""Channels, height and width of a latent picture."""
PATCH = 2


class Reading(nn.Module):
    """Attention of ``x`` ``[B, M, W]`` to words ``[B, L, V]``; ``mask`` is True at words."""

    def __init__(self, width: int, words: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.rest = nn.Linear(words, 2 * width)

    def forward(self, x: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(x), *self.rest(words).chunk(2, -1))
        )
        read = F.scaled_dot_product_attention(query, key, value, mask[:, None, None, :])
        out: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return out


class Painting(nn.Module):
    """A pre-norm block: the places see each other, read the words, and smooth their edges."""

    def __init__(self, width: int, words: int, heads: int) -> None:
        super().__init__()
        self.seeing = Block(width, heads, spread=2)
        self.norm = nn.LayerNorm(width)
        self.reading = Reading(width, words, heads)
        self.near = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        x = x + self.reading(self.norm(x), words, mask)
        side = int(x.shape[1] ** 0.5)
        x = x + self.near(x.transpose(1, 2).unflatten(2, (side, side))).flatten(2).transpose(1, 2)
        out: Tensor = self.seeing(x)
        return out


class PainterNetwork(nn.Module):
    """Predicts which way a noised latent flows (arXiv 2209.03003), told a sentence and the time.

    The decoder is that of the VAE whose latent it paints in, so that a painter stands alone. With
    ``style`` it is also told so many numbers in [0, 1], which stand for what no sentence says.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, *, vocabulary: int, width: int = 112, depth: int = 4, heads: int = 4,
        words: int = 64, context: int = 48, style: int = 0,
    ) -> None:  # fmt: skip
        super().__init__()
        self.words = nn.Embedding(vocabulary, words, padding_idx=PAD)
        self.position = nn.Parameter(0.02 * torch.randn(1, context, words))
        self.text = nn.ModuleList(Block(words, 4) for _ in range(2))
        self.told = nn.LayerNorm(words)
        channels, side = LATENT[0] * PATCH**2, LATENT[1] // PATCH
        self.enter = nn.Linear(channels, width)
        self.place = nn.Parameter(0.02 * torch.randn(1, side**2, width))
        self.time = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(Painting(width, words, heads) for _ in range(depth))
        self.moments = nn.Parameter(torch.zeros(depth, width))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, channels)
        self.decoder = AutoencoderNetwork(variational=True).decoder.requires_grad_(False)
        self.register_buffer("mean", torch.zeros(1, LATENT[0], 1, 1))
        self.register_buffer("deviation", torch.ones(1, LATENT[0], 1, 1))
        self.styles = style
        # It comes last, so that a network without it begins with the same weights.
        self.style = (
            nn.Sequential(nn.Linear(3 * style, width), nn.GELU(), nn.Linear(width, width))
            if style
            else None
        )

    def read(self, ids: Tensor) -> Tensor:
        """Token ids ``[B, L]`` to what they mean, ``[B, L, V]``."""
        return self.listen(self.words(ids), ids != PAD)

    def likely(self, chances: Tensor, mask: Tensor) -> Tensor:
        """Chances of each word ``[B, L, vocabulary]`` to what they mean, ``[B, L, V]``.

        A word that is not certain is the mean of what it may be; ``mask`` is True at words.
        """
        return self.listen(chances @ self.words.weight, mask)

    def listen(self, x: Tensor, mask: Tensor) -> Tensor:
        """Words ``[B, L, V]`` by themselves to what they mean among the others."""
        x = x + self.position[:, : x.shape[1]]
        for block in self.text:
            x = block(x, mask)
        out: Tensor = self.told(x)
        return out

    def forward(
        self, latent: Tensor, t: Tensor, words: Tensor, mask: Tensor, style: Tensor | None = None
    ) -> Tensor:
        """From the picture to the noise, ``[B, 8, 16, 16]``, at times ``t`` ``[B]`` in [0, 1].

        Args:
            latent: ``(1 - t) picture + t noise``, of deviation one.
            t: 0 is the picture, 1 is noise.
            words: of :meth:`read`, ``[B, L, V]``.
            mask: True at words, ``[B, L]``.
            style: ``[B, S]`` in [0, 1]; None for none.
        """
        x = self.enter(F.pixel_unshuffle(latent, PATCH).flatten(2).transpose(1, 2)) + self.place
        time = self.time(sinusoid(1000 * t, self.enter.out_features))[:, None]
        if style is not None and self.style is not None:
            turn = 2 * torch.pi * style
            time = time + self.style(torch.cat([2 * style - 1, turn.sin(), turn.cos()], 1))[:, None]
        for block, gain in zip(self.blocks, self.moments, strict=True):
            x = block(x + time * (1 + gain), words, mask)
        side = LATENT[1] // PATCH
        flow = self.leave(self.norm(x)).transpose(1, 2).unflatten(2, (side, side))
        return F.pixel_shuffle(flow, PATCH).float()

    def decode(self, latent: Tensor) -> Tensor:
        """A latent of deviation one to pixels in [0, 1], ``[B, 3, 64, 64]``."""
        return torch.sigmoid(self.decoder(self.mean + self.deviation * latent).float())
