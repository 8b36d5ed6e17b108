"""From a trunk's hidden states to the common space, and the lengths that vectors have there."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.models.imagebind.arguments import MODALITIES, Arguments, Modality
from secondlook.models.imagebind.transformer import EPS

LONGEST = 100.0
"""No scale is larger."""


class First(nn.Module):
    """The class token's state, ``[B, L, D] -> [B, D]``."""

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


class TextHead(nn.Module):
    """The state at the end mark, which is the largest of the token ids, projected."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.LayerNorm(width, eps=EPS), nn.Linear(width, dim, bias=False))

    def forward(self, x: Tensor, ids: Tensor) -> Tensor:
        out: Tensor = self.proj(x[torch.arange(len(x), device=x.device), ids.argmax(-1)])
        return out


class Unit(nn.Module):
    """Vectors of length one."""

    def forward(self, x: Tensor) -> Tensor:
        return F.normalize(x, dim=-1)


class Scale(nn.Module):
    """Stretches unit vectors; ``learned`` where training could change by how much."""

    log_logit_scale: Tensor

    def __init__(self, *, learned: bool) -> None:
        super().__init__()
        if learned:
            self.log_logit_scale = nn.Parameter(torch.empty(()))
        else:
            self.register_buffer("log_logit_scale", torch.empty(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.log_logit_scale.exp().clamp(max=LONGEST)


def heads(sizes: Arguments) -> dict[str, nn.Module]:
    """The head of each modality."""
    return {name: _head(name, sizes.tower(name)[0], sizes.out_embed_dim) for name in MODALITIES}


def _head(modality: Modality, width: int, dim: int) -> nn.Module:
    if modality == "text":
        return TextHead(width, dim)
    norm, project = nn.LayerNorm(width, eps=EPS), nn.Linear(width, dim, bias=False)
    # The IMU's head had dropout in training, which moves its projection up by one.
    extra = [nn.Dropout(0.5)] if modality == "imu" else []
    return nn.Sequential(norm, First(), *extra, project)


def scales() -> dict[str, nn.Module]:
    """What each modality's vectors go through last."""
    return {name: _scale(name) for name in MODALITIES}


def _scale(modality: Modality) -> nn.Sequential:
    if modality == "vision":
        return nn.Sequential(Unit())
    return nn.Sequential(Unit(), Scale(learned=modality == "text"))
