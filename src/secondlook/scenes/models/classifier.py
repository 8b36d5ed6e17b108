"""A small convolutional classifier of scenes."""

from __future__ import annotations

from torch import Tensor, nn

from secondlook.models.base import Classifier, resized
from secondlook.scenes.captions import class_names
from secondlook.scenes.models.layers import Residual, conv
from secondlook.scenes.world import SIDE


class ClassifierNetwork(nn.Module):
    """Which class the main object is; pixels in [0, 1] are normalized inside.

    The map of the last convolution is flattened and not averaged: which object is the largest
    follows from comparing them.
    """

    def __init__(self, *, classes: int, width: int = 32, dim: int = 128) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            conv(3, width, stride=2, kernel=5),
            conv(width, 2 * width, stride=2),
            Residual(conv(2 * width, 2 * width)),
            conv(2 * width, 4 * width, stride=2),
            Residual(conv(4 * width, 4 * width)),
            conv(4 * width, 16, kernel=1),
            nn.Flatten(),
            nn.Linear(16 * 64, dim),
            nn.GELU(),
        )
        self.head = nn.Linear(dim, classes)

    def features(self, x: Tensor) -> Tensor:
        """``[B, 3, 64, 64]`` in [0, 1] to ``[B, dim]``."""
        out: Tensor = self.trunk((x - 0.5) / 0.25)
        return out

    def forward(self, x: Tensor) -> Tensor:
        """``[B, 3, 64, 64]`` in [0, 1] to scores ``[B, classes]``."""
        out: Tensor = self.head(self.features(x))
        return out


class SceneClassifier(Classifier):
    """Color and shape of the main object; images of another size are resized to 64×64 inside."""

    size = (SIDE, SIDE)

    def __init__(self, name: str, network: ClassifierNetwork) -> None:
        self.name, self.network, self.modules = name, network, (network,)
        self.classes = class_names()

    def features(self, x: Tensor) -> Tensor:
        return self.network.features(resized(self.checked_input(x), *self.size)).float()

    def scores(self, features: Tensor) -> Tensor:
        out: Tensor = self.network.head(features)
        return out
