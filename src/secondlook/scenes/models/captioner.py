"""A small captioner of scenes: a convolutional image encoder, a transformer decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.models.base import resized
from secondlook.models.captioner import Captioner, Sentence
from secondlook.models.text.decoding import Decoding
from secondlook.randomness import Keys
from secondlook.scenes.models.layers import Residual, conv
from secondlook.scenes.tokenizer import BOS, EOS, PAD, Tokenizer
from secondlook.scenes.world import SIDE


class Attention(nn.Module):
    """Attention of ``x`` ``[B, L, W]`` to ``context`` ``[B, M, W]``; causal where both are one."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.rest = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, causal: bool = False) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.query(x), *self.rest(context).chunk(2, -1))
        )
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=causal)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out


class DecoderBlock(nn.Module):
    """A pre-norm block: causal attention to the words, cross-attention to the image."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.words, self.picture = Attention(width, heads), Attention(width, heads)
        self.mlp = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, picture: Tensor) -> Tensor:
        read = self.norms[0](x)
        x = x + self.words(read, read, causal=True)
        x = x + self.picture(self.norms[1](x), picture)
        out: Tensor = x + self.mlp(self.norms[2](x))
        return out


class CaptionerNetwork(nn.Module):
    """Pixels and the words so far to scores of the next word; pixels are normalized inside.

    Its image encoder is its own and shares no weights with an embedder.
    """

    def __init__(self, *, vocabulary: int, width: int = 80, depth: int = 2, heads: int = 4, context: int = 48) -> None:
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
        self.blocks = nn.ModuleList(DecoderBlock(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary)

    def encode_image(self, x: Tensor) -> Tensor:
        """``[B, 3, 64, 64]`` in [0, 1] to features of 8×8 positions, ``[B, 64, W]``."""
        features = self.eyes((x - 0.5) / 0.25).flatten(2).transpose(1, 2)
        out: Tensor = self.looked(features + self.place)
        return out

    def next_word_scores(self, features: Tensor, ids: Tensor) -> Tensor:
        """Scores ``[B, L, V]`` of the word after each of ``ids`` ``[B, L]``, the begin mark first.

        ``B`` may be a multiple of the images': the texts of one picture lie side by side.
        """
        x = self.words(ids) + self.position[:, : ids.shape[1]]
        picture = features.repeat_interleave(len(ids) // len(features), 0)
        for block in self.blocks:
            x = block(x, picture)
        out: Tensor = self.head(self.norm(x))
        return out


class SceneCaptioner(Captioner):
    """Captions a scene, without a prompt; other images are resized to 64×64 inside."""

    size = (SIDE, SIDE)
    end = EOS
    once = True

    def __init__(self, name: str, network: CaptionerNetwork) -> None:
        self.name, self.network, self.modules = name, network, (network,)
        self.tokenizer = Tokenizer()
        self.vocabulary = self.tokenizer.hash

    def tokens(self, texts: Sequence[str], prompt: str) -> Sentence:
        ids = torch.from_numpy(self.tokenizer.encode(texts))[:, 1:]
        ids = ids[:, : int((ids != PAD).sum(1).max())]
        return Sentence(ids, (ids != PAD).long())

    def detokenize(self, ids: Tensor) -> str:
        return self.tokenizer.decode([ids.tolist()])[0]

    def logits(self, x: Tensor, ids: Tensor, prompt: str) -> Tensor:
        features = self.network.encode_image(resized(x, *self.size))
        return self.network.next_word_scores(features, _begun(ids[:, :-1]))

    def write(self, x: Tensor, keys: Keys, decoding: Decoding, prompt: str) -> list[str]:
        features = self.network.encode_image(resized(x, *self.size))
        return self.decode(lambda ids: self.network.next_word_scores(features, _begun(ids))[:, -1], x, keys, decoding)


def _begun(ids: Tensor) -> Tensor:
    return F.pad(ids, (1, 0), value=BOS)
