"""The sizes of an ALBEF, under the names of the published configuration."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


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
        encoder_width: width of the image tokens that the fusion looks at.
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
        hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
        vocab_size=30522, max_position_embeddings=512, type_vocab_size=2, layer_norm_eps=1e-12,
        fusion_layer=6, encoder_width=768,
    ),
)  # fmt: skip
"""For retrieval on Flickr30k and COCO."""
