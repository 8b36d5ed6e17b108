"""Networks of sites; those that read bring their own words, which stand in the card."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from secondlook.scenes.networks.classifier import ClassifierNetwork
from secondlook.scenes.networks.clip import TextTower
from secondlook.scenes.networks.layers import unit
from secondlook.scenes.networks.painter import PainterNetwork
from secondlook.scenes.tokenizer import Tokenizer

CONTEXT = 32
"""Tokens of a text at most; the longest caption fits."""


class OverheadClassifierNetwork(ClassifierNetwork):
    """The classifier of scenes at half the width, over the kinds of sites."""

    def __init__(self, *, classes: int, width: int = 16, dim: int = 128) -> None:
        super().__init__(classes=classes, width=width, dim=dim)


class OverheadClipNetwork(nn.Module):
    """An image-text embedder whose image tower is the trunk of the classifier.

    Whatever sets the two apart is then owed to what they have learnt, and not to what they are.
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
