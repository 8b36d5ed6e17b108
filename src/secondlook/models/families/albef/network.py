"""The network of ALBEF, under its published names: image encoder, BERT, and their fusion."""

from __future__ import annotations

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.models.text.wordpiece import Tokens


class VisionArguments(BaseModel):
    """The image encoder."""

    model_config = ConfigDict(frozen=True)

    patch_size: int
    embed_dim: int
    depth: int
    num_heads: int


class BertArguments(BaseModel):
    """The text encoder and, from ``fusion_layer`` on, the fusion of both.

    Attributes:
        encoder_width: width of the image tokens that the fusion attends to.
    """

    model_config = ConfigDict(frozen=True)

    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    vocab_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    fusion_layer: int
    encoder_width: int


class Arguments(BaseModel):
    """A configuration; what it says of training beside this is not read.

    Attributes:
        image_res: height and width of the images.
        embed_dim: width of the common space.
    """

    model_config = ConfigDict(frozen=True)

    image_res: int
    embed_dim: int
    vision: VisionArguments
    bert: BertArguments


PUBLISHED = Arguments(
    image_res=384,
    embed_dim=256,
    vision=VisionArguments(patch_size=16, embed_dim=768, depth=12, num_heads=12),
    bert=BertArguments(
        hidden_size=768,
        num_hidden_layers=12,
        num_attention_heads=12,
        intermediate_size=3072,
        vocab_size=30522,
        max_position_embeddings=512,
        type_vocab_size=2,
        layer_norm_eps=1e-12,
        fusion_layer=6,
        encoder_width=768,
    ),
)
"""For retrieval on Flickr30k and COCO."""


_EPS = 1e-6


class Patches(nn.Module):
    """Square patches to tokens, ``[B, 3, H, W] -> [B, N, D]``."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.proj(x)
        return out.flatten(2).transpose(1, 2)


class VisionAttention(nn.Module):
    """Multi-head self-attention with one matrix for query, key and value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(*parts)
        out: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return out


class Mlp(nn.Module):
    """Four times as wide inside, with an exact GELU."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """A pre-norm block."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=_EPS), nn.LayerNorm(width, eps=_EPS)
        self.attn, self.mlp = VisionAttention(width, heads), Mlp(width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class VisionTransformer(nn.Module):
    """Normalized images ``[B, 3, side, side]`` to states ``[B, 1 + N, D]``, class token first."""

    def __init__(self, sizes: VisionArguments, side: int) -> None:
        super().__init__()
        width, count = sizes.embed_dim, (side // sizes.patch_size) ** 2
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + count, width))
        self.patch_embed = Patches(sizes.patch_size, width)
        self.blocks = nn.ModuleList(Block(width, sizes.num_heads) for _ in range(sizes.depth))
        self.norm = nn.LayerNorm(width, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch_embed(x)], dim=1)
        tokens = tokens + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.norm(tokens)
        return out


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
        mixed = F.scaled_dot_product_attention(self._split(query), self._split(key), self._split(value), attn_mask=bias)
        return mixed.transpose(1, 2).flatten(2)

    def _split(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        return x.view(batch, length, self.heads, width // self.heads).transpose(1, 2)


class AddNorm(nn.Module):
    """Projects what a layer found, adds what it was given, and normalizes."""

    def __init__(self, inside: int, sizes: BertArguments) -> None:
        super().__init__()
        self.dense = nn.Linear(inside, sizes.hidden_size)
        self.LayerNorm = nn.LayerNorm(sizes.hidden_size, eps=sizes.layer_norm_eps)

    def forward(self, found: Tensor, given: Tensor) -> Tensor:
        out: Tensor = self.LayerNorm(self.dense(found) + given)
        return out


class TextAttention(nn.Module):
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
        self.attention = TextAttention(sizes, sizes.hidden_size)
        if fuses:
            self.crossattention = TextAttention(sizes, sizes.encoder_width)
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
    """The layers; those from ``fusion_layer`` on attend to an image."""

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
    """Two networks in a row: the lower layers read text, the upper ones images too."""

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


class AlbefNetwork(nn.Module):
    """Contrastive vectors (ITC) and matching logits (ITM) (arXiv 2107.07651, sections 3.1, 3.2)."""

    def __init__(self, sizes: Arguments) -> None:
        super().__init__()
        self.visual_encoder = VisionTransformer(sizes.vision, sizes.image_res)
        self.text_encoder = Bert(sizes.bert)
        self.vision_proj = nn.Linear(sizes.vision.embed_dim, sizes.embed_dim)
        self.text_proj = nn.Linear(sizes.bert.hidden_size, sizes.embed_dim)
        self.itm_head = nn.Linear(sizes.bert.hidden_size, 2)

    def image_states(self, x: Tensor) -> Tensor:
        """Normalized images ``[B, 3, side, side]`` to states ``[B, 1 + N, Dv]``."""
        out: Tensor = self.visual_encoder(x)
        return out

    def text_states(self, tokens: Tokens) -> Tensor:
        """Tokens ``[B, L]`` to states ``[B, L, Dt]``."""
        return self.text_encoder.read(*tokens)

    def image_vectors(self, states: Tensor) -> Tensor:
        """States of images to unit vectors ``[B, D]``."""
        return F.normalize(self.vision_proj(states[:, 0]), dim=-1)

    def text_vectors(self, states: Tensor) -> Tensor:
        """States of texts to unit vectors ``[B, D]``."""
        return F.normalize(self.text_proj(states[:, 0]), dim=-1)

    def match(self, seen: Tensor, read: Tensor, mask: Tensor) -> Tensor:
        """States of ``B`` images and ``B`` texts to logits ``[B, 2]`` of no match and match."""
        out: Tensor = self.itm_head(self.text_encoder.fuse(read, mask, seen)[:, 0])
        return out
