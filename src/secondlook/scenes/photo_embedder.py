"""An image-text embedder of small photographs behind the words that every embedder has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from secondlook.models.base import Embedder, resized
from secondlook.scenes.networks.photos import PHOTO_SIDE, PhotoNetwork


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
