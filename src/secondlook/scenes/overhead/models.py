"""The networks of sites and their adapters; those that read text bring their own vocabulary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from secondlook.models.base import Embedder, resized
from secondlook.scenes.models.classifier import ClassifierNetwork, SceneClassifier
from secondlook.scenes.models.clip import TextTower
from secondlook.scenes.models.layers import unit
from secondlook.scenes.models.painter import PainterNetwork, ScenePainter
from secondlook.scenes.overhead.captions import PROMPT, class_names
from secondlook.scenes.tokenizer import PAD, Tokenizer
from secondlook.scenes.world import SIDE

CONTEXT = 32
"""Tokens of a text at most; the longest caption fits."""


class OverheadClassifierNetwork(ClassifierNetwork):
    """The classifier of scenes at half the width, over the kinds of sites."""

    def __init__(self, *, classes: int, width: int = 16, dim: int = 128) -> None:
        super().__init__(classes=classes, width=width, dim=dim)


class OverheadClipNetwork(nn.Module):
    """An image-text embedder whose image tower is the trunk of the classifier.

    Any difference between the two is then due to their training, and not to their architecture.
    """

    def __init__(self, *, words: Sequence[str], width: int = 16, dim: int = 128) -> None:
        super().__init__()
        self.tokenizer = Tokenizer(words=tuple(words))
        self.image = nn.Sequential(
            *OverheadClassifierNetwork(classes=1, width=width, dim=dim).trunk, nn.Linear(dim, dim)
        )
        self.text = TextTower(self.tokenizer.size, dim, width=64, context=CONTEXT)
        self.log_scale = nn.Parameter(torch.tensor(2.7))

    def embed_image(self, x: Tensor) -> Tensor:
        """``[B, 3, 64, 64]`` in [0, 1] to unit vectors ``[B, D]``."""
        return unit(self.image((x - 0.5) / 0.25))

    def embed_text(self, ids: Tensor) -> Tensor:
        """Token ids ``[B, L]`` to unit vectors ``[B, D]``."""
        return unit(self.text(ids))


class OverheadPainterNetwork(PainterNetwork):
    """A painter of sites."""

    def __init__(self, *, words: Sequence[str]) -> None:
        tokenizer = Tokenizer(words=tuple(words))
        super().__init__(vocabulary=tokenizer.size, context=CONTEXT)
        self.tokenizer = tokenizer


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
