"""The models of sites behind the words that every model has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from secondlook.models.base import Embedder, resized
from secondlook.scenes.classifier import SceneClassifier
from secondlook.scenes.overhead.captions import PROMPT, class_names
from secondlook.scenes.overhead.networks import (
    CONTEXT,
    OverheadClassifierNetwork,
    OverheadClipNetwork,
    OverheadPainterNetwork,
)
from secondlook.scenes.painter import ScenePainter
from secondlook.scenes.tokenizer import PAD
from secondlook.scenes.world import SIDE


class OverheadEmbedder(Embedder):
    """A CLIP of sites; images of another size are resized to 64×64 inside."""

    size = (SIDE, SIDE)
    prompt = PROMPT

    def __init__(self, name: str, network: OverheadClipNetwork) -> None:
        self.name, self.network, self.modules = name, network, (network,)

    def encode_image(self, x: Tensor) -> Tensor:
        return self.network.embed_image(resized(x, *self.size))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        ids = torch.from_numpy(self.network.tokenizer.encode(texts, CONTEXT))
        ids = ids[:, : int((ids != PAD).sum(1).max())]
        return self.network.embed_text(ids.to(self.network.log_scale.device))


class OverheadClassifier(SceneClassifier):
    """The kind of a site; images of another size are resized to 64×64 inside."""

    def __init__(self, name: str, network: OverheadClassifierNetwork) -> None:
        super().__init__(name, network)
        self.classes = class_names()


class OverheadPainter(ScenePainter):
    """Paints a caption of a site."""

    def __init__(self, name: str, network: OverheadPainterNetwork) -> None:
        super().__init__(name, network)
        self.tokenizer = network.tokenizer
