"""A small text-to-image model: a rectified flow in the latent space of the VAE of scenes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.ledger import tally
from secondlook.models.painter import SoftPainter
from secondlook.randomness import Keys
from secondlook.scenes.models.layers import Block, sinusoid
from secondlook.scenes.models.purifiers import AutoencoderNetwork
from secondlook.scenes.tokenizer import BOS, PAD, Tokenizer
from secondlook.scenes.world import SIDE

LATENT = (8, 16, 16)
"""Channels, height and width of a latent picture."""
PATCH = 2


class CrossAttention(nn.Module):
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


class PainterBlock(nn.Module):
    """A pre-norm block: self-attention, cross-attention to the words, a depthwise convolution."""

    def __init__(self, width: int, words: int, heads: int) -> None:
        super().__init__()
        self.seeing = Block(width, heads, spread=2)
        self.norm = nn.LayerNorm(width)
        self.reading = CrossAttention(width, words, heads)
        self.near = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tensor, words: Tensor, mask: Tensor) -> Tensor:
        x = x + self.reading(self.norm(x), words, mask)
        side = int(x.shape[1] ** 0.5)
        x = x + self.near(x.transpose(1, 2).unflatten(2, (side, side))).flatten(2).transpose(1, 2)
        out: Tensor = self.seeing(x)
        return out


class PainterNetwork(nn.Module):
    """Predicts which way a noised latent flows (arXiv 2209.03003), given a sentence and the time.

    The decoder is that of the VAE whose latent it paints in: no other weights are needed. With
    ``style`` it is also given so many numbers in [0, 1], for what no sentence describes.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        *,
        vocabulary: int,
        width: int = 112,
        depth: int = 4,
        heads: int = 4,
        words: int = 64,
        context: int = 48,
        style: int = 0,
    ) -> None:
        super().__init__()
        self.words = nn.Embedding(vocabulary, words, padding_idx=PAD)
        self.position = nn.Parameter(0.02 * torch.randn(1, context, words))
        self.text = nn.ModuleList(Block(words, 4) for _ in range(2))
        self.told = nn.LayerNorm(words)
        channels, side = LATENT[0] * PATCH**2, LATENT[1] // PATCH
        self.enter = nn.Linear(channels, width)
        self.place = nn.Parameter(0.02 * torch.randn(1, side**2, width))
        self.time = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(PainterBlock(width, words, heads) for _ in range(depth))
        self.moments = nn.Parameter(torch.zeros(depth, width))
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, channels)
        self.decoder = AutoencoderNetwork(variational=True).decoder.requires_grad_(False)
        self.register_buffer("mean", torch.zeros(1, LATENT[0], 1, 1))
        self.register_buffer("deviation", torch.ones(1, LATENT[0], 1, 1))
        self.styles = style
        # It comes last, so that a network without it begins with the same weights.
        self.style = nn.Sequential(nn.Linear(3 * style, width), nn.GELU(), nn.Linear(width, width)) if style else None

    def encode_text(self, ids: Tensor) -> Tensor:
        """Token ids ``[B, L]`` to contextual vectors ``[B, L, V]``."""
        return self.contextualize(self.words(ids), ids != PAD)

    def encode_soft_text(self, chances: Tensor, mask: Tensor) -> Tensor:
        """Chances of each word ``[B, L, vocabulary]`` to contextual vectors ``[B, L, V]``.

        A word that is not certain is the mean of what it may be; ``mask`` is True at words.
        """
        return self.contextualize(chances @ self.words.weight, mask)

    def contextualize(self, x: Tensor, mask: Tensor) -> Tensor:
        """Word vectors ``[B, L, V]`` to contextual vectors."""
        x = x + self.position[:, : x.shape[1]]
        for block in self.text:
            x = block(x, mask)
        out: Tensor = self.told(x)
        return out

    def forward(self, latent: Tensor, t: Tensor, words: Tensor, mask: Tensor, style: Tensor | None = None) -> Tensor:
        """The flow from image to noise, ``[B, 8, 16, 16]``, at times ``t`` ``[B]`` in [0, 1].

        Args:
            latent: ``(1 - t) image + t noise``, of deviation one.
            t: 0 is the image, 1 is noise.
            words: of :meth:`encode_text`, ``[B, L, V]``.
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


class TextEncoding(NamedTuple):
    """Encoded texts: vectors ``[B, L, V]``, and ``[B, L]``, True at words."""

    words: Tensor
    mask: Tensor

    def repeated(self, times: int) -> TextEncoding:
        """One text, so many times."""
        return TextEncoding(self.words[[0] * times], self.mask[[0] * times])


class ScenePainter(SoftPainter):
    """A rectified flow in a latent, in a few Euler steps from noise to an image.

    Guidance is classifier-free (arXiv 2207.12598): 1 paints what the text says, and above it the
    flow is extrapolated away from that without a text.
    """

    size = (SIDE, SIDE)
    steps = 8
    guidance = 2.0
    movable = True

    def __init__(self, name: str, network: PainterNetwork) -> None:
        self.name, self.network, self.modules = name, network, (network,)
        self.tokenizer = Tokenizer()
        self.vocabulary = self.tokenizer.hash

    def truncates(self, text: str) -> bool:
        context = self.network.position.shape[1]
        return bool((self.tokenizer.encode([text], context + 1) != PAD).sum() > context)

    def draw(self, texts: Sequence[str], keys: Keys, steps: int, guidance: float) -> Tensor:
        ids = torch.from_numpy(self.tokenizer.encode([*texts, ""]))
        ids = ids[:, : int((ids != PAD).sum(1).max())].to(self.network.mean.device)
        words, mask = self.network.encode_text(ids), ids != PAD
        text, unconditional = (TextEncoding(words[:-1], mask[:-1]), TextEncoding(words[-1:], mask[-1:]))
        return self._painted(text, unconditional, keys, steps, guidance)

    def draw_soft(self, words: Tensor, mask: Tensor, keys: Keys, steps: int, guidance: float) -> Tensor:
        begin = F.one_hot(words.new_tensor([BOS], dtype=torch.long), words.shape[-1]).to(words)
        chances = torch.cat([begin.expand(len(words), 1, -1), words], 1)
        read = F.pad(mask.bool(), (1, 0), value=True)
        text = TextEncoding(self.network.encode_soft_text(chances, read), read)
        ids = torch.from_numpy(self.tokenizer.encode([""], 2)).to(words.device)
        unconditional = TextEncoding(self.network.encode_text(ids), ids != PAD)
        return self._painted(text, unconditional, keys, steps, guidance)

    def _painted(
        self, text: TextEncoding, unconditional: TextEncoding, keys: Keys, steps: int, guidance: float
    ) -> Tensor:
        """From noise to images, in so many Euler steps."""
        latent = keys.fold("latents").normal(LATENT, like=self.network.mean)
        style = keys.fold("style").uniform((self.network.styles,), like=self.network.mean)
        for step in range(steps):
            t = latent.new_full((len(keys),), 1 - step / steps)
            flow = self._flow(latent, t, text, style)
            if guidance != 1:
                unguided = self._flow(latent, t, unconditional.repeated(len(keys)), style)
                flow = unguided + guidance * (flow - unguided)
            latent = latent - flow / steps
        return self.network.decode(latent)

    def _flow(self, latent: Tensor, t: Tensor, text: TextEncoding, style: Tensor) -> Tensor:
        # The first step's latent is noise: there the words alone require a gradient.
        words, mask = text
        if words.requires_grad:
            words = tally(self.name, words)
        else:
            latent = tally(self.name, latent)
        flow: Tensor = self.network(latent, t, words, mask, style if self.network.styles else None)
        return flow
