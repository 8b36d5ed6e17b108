"""A small convolutional classifier of scenes: features, then one linear layer of scores."""

from __future__ import annotations

from torch import Tensor, nn

from secondlook.scenes.networks.layers import Residual, conv


class ClassifierNetwork(nn.Module):
    """Which class the main thing is; pixels in [0, 1] are normalised inside.

    The map of the last convolution is read place by place and not averaged: which thing is the
    largest is told by comparing them.
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
