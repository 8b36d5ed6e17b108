"""A denoiser of an embedder's vectors, without texts, and its noise schedule."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.scenes.models.layers import sinusoid

MOMENTS: Final = 1000
"""Of the noise schedule."""
OFFSET: Final = 0.008
"""Of the cosine schedule (Nichol & Dhariwal 2021)."""
_MOMENT_WIDTH: Final = 32


def signal(moments: Tensor) -> Tensor:
    """The share of the signal that is left, ``alpha_bar``, at moments in [0, 1000).

    Example:
        >>> [f"{float(share):.4f}" for share in signal(torch.tensor([0.0, 500.0, 900.0]))]
        ['1.0000', '0.4923', '0.0236']
    """
    first = math.cos(OFFSET / (1 + OFFSET) * math.pi / 2) ** 2
    return torch.cos(((moments + 1) / MOMENTS + OFFSET) / (1 + OFFSET) * math.pi / 2).square() / first


class VectorDenoiser(nn.Module):
    """Of a noised vector the expected clean one, by a perceptron of three layers.

    Vectors have the length ``sqrt(D)``, as in DALL-E 2's prior, so that noise of deviation 1 is as
    large as a coordinate.

    Args:
        dim: of the vectors.
        width: of the layers.
    """

    def __init__(self, *, dim: int, width: int = 96) -> None:
        super().__init__()
        self.given, self.moment = nn.Linear(dim, width), nn.Linear(_MOMENT_WIDTH, width)
        self.middle, self.out = nn.Linear(width, width), nn.Linear(width, dim)

    def forward(self, noised: Tensor, share: Tensor) -> Tensor:
        """Noised vectors ``[B, D]``, at the shares ``[B, 1]`` of the signal, to clean ones."""
        angle = share.clamp(0, 1).sqrt().acos() * (2 / math.pi)
        hidden = F.gelu(self.given(noised) + self.moment(sinusoid(MOMENTS * angle[:, 0], _MOMENT_WIDTH)))
        out: Tensor = self.out(hidden + F.gelu(self.middle(hidden)))
        return out


def noised(clean: Tensor, share: Tensor, noise: Tensor) -> Tensor:
    """Vectors ``[B, D]`` of which the shares ``[B, 1]`` are left, and the rest is noise."""
    return share.sqrt() * clean + (1 - share).sqrt() * noise
