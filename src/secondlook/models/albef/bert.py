"""BERT (arXiv 1810.04805) whose upper layers look at an image too, under its published names."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.models.albef.arguments import BertArguments

HIDDEN = -10000.0
"""What is added to the attention's score of a padded token."""


class Heads(nn.Module):
    """Multi-head attention of ``x`` over ``seen``, before its output projection."""

    def __init__(self, width: int, heads: int, seen: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key, self.value = nn.Linear(seen, width), nn.Linear(seen, width)

    def forward(self, x: Tensor, seen: Tensor, bias: Tensor | None) -> Tensor:
        query, key, value = self.query(x), self.key(seen), self.value(seen)
        mixed = F.scaled_dot_product_attention(
            self._split(query), self._split(key), self._split(value), attn_mask=bias
        )
        return mixed.transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, width // self.heads).transpose(1, 2)


class AddNorm(nn.Module):
    """Projects what a layer found, adds what it was given, and normalises."""

    def __init__(self, inside: int, sizes: BertArguments) -> None:
        super().__init__()
        self.dense = nn.Linear(inside, sizes.hidden_size)
        self.LayerNorm = nn.LayerNorm(sizes.hidden_size, eps=sizes.layer_norm_eps)

    def forward(self, found: Tensor, given: Tensor) -> Tensor:
        out: Tensor = self.LayerNorm(self.dense(found) + given)
        return out


class Attention(nn.Module):
    """Attention over ``seen``, which is ``wide``, and its post-norm."""

    def __init__(self, sizes: BertArguments, wide: int) -> None:
        super().__init__()
        self.self = Heads(sizes.hidden_size, sizes.num_attention_heads, wide)
        self.output = AddNorm(sizes.hidden_size, sizes)

    def forward(self, x: Tensor, seen: Tensor, bias: Tensor | None) -> Tensor:
        out: Tensor = self.output(self.self(x, seen, bias), x)
        return out


class Layer(nn.Module):
    """Self-attention, perhaps attention over an image, and an MLP with an exact GELU."""

    def __init__(self, sizes: BertArguments, fuses: bool) -> None:
        super().__init__()
        self.attention = Attention(sizes, sizes.hidden_size)
        if fuses:
            self.crossattention = Attention(sizes, sizes.encoder_width)
        wide = nn.Linear(sizes.hidden_size, sizes.intermediate_size)
        self.intermediate = nn.ModuleDict({"dense": wide})
        self.output = AddNorm(sizes.intermediate_size, sizes)

    def forward(self, x: Tensor, bias: Tensor, image: Tensor | None) -> Tensor:
        x = self.attention(x, x, bias)
        if image is not None:
            x = self.crossattention(x, image, None)
        out: Tensor = self.output(F.gelu(self.intermediate["dense"](x)), x)
        return out


class Embeddings(nn.Module):
    """Token ids ``[B, L]`` to ``[B, L, D]``."""

    def __init__(self, sizes: BertArguments) -> None:
        super().__init__()
        width = sizes.hidden_size
        self.word_embeddings = nn.Embedding(sizes.vocab_size, width)
        self.position_embeddings = nn.Embedding(sizes.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(sizes.type_vocab_size, width)
        self.LayerNorm = nn.LayerNorm(width, eps=sizes.layer_norm_eps)

    def forward(self, ids: Tensor) -> Tensor:
        places = self.position_embeddings(torch.arange(ids.shape[1], device=ids.device))
        # One sentence at a time: every token is of the first type.
        kind = self.token_type_embeddings.weight[0]
        out: Tensor = self.LayerNorm(self.word_embeddings(ids) + places + kind)
        return out


class Encoder(nn.Module):
    """The layers; those from ``fusion_layer`` on look at an image."""

    def __init__(self, sizes: BertArguments) -> None:
        super().__init__()
        rows = range(sizes.num_hidden_layers)
        self.layer = nn.ModuleList(Layer(sizes, row >= sizes.fusion_layer) for row in rows)

    def forward(self, x: Tensor, mask: Tensor, rows: slice, image: Tensor | None = None) -> Tensor:
        bias = (1 - mask.to(x.dtype))[:, None, None, :] * HIDDEN
        for layer in self.layer[rows]:
            x = layer(x, bias, image)
        return x


class Bert(nn.Module):
    """Two networks on top of each other: the lower layers read, the upper ones also look."""

    def __init__(self, sizes: BertArguments) -> None:
        super().__init__()
        self.lower = slice(None, sizes.fusion_layer)
        self.upper = slice(sizes.fusion_layer, None)
        self.embeddings, self.encoder = Embeddings(sizes), Encoder(sizes)

    def read(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Token ids and mask ``[B, L]`` to states ``[B, L, D]``, through the lower layers."""
        out: Tensor = self.encoder(self.embeddings(ids), mask, self.lower)
        return out

    def fuse(self, x: Tensor, mask: Tensor, image: Tensor) -> Tensor:
        """States of :meth:`read` and of an image ``[B, N, Dv]`` to ``[B, L, D]``."""
        out: Tensor = self.encoder(x, mask, self.upper, image)
        return out
