"""The embedded world's image-text embedders behind the words that every embedder has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from secondlook.models.base import Embedder, resized
from secondlook.scenes.captions import PROMPT
from secondlook.scenes.networks.clip import ClipNetwork
from secondlook.scenes.tokenizer import PAD, Tokenizer
from secondlook.scenes.world import SIDE


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
