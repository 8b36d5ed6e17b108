"""Autoencoders of scenes: 64×64 pixels through a 16×16 latent, deterministic or variational."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from secondlook.scenes.networks.layers import Residual, conv


class Posterior(NamedTuple):
    """The Gaussian that an image is encoded to, each ``[B, C, 16, 16]``."""

    mean: Tensor
    log_variance: Tensor


def _encoder(outside: int) -> nn.Sequential:
    return nn.Sequential(
        conv(3, 32, stride=2, kernel=5),
        Residual(conv(32, 32)),
        conv(32, 64, stride=2),
        Residual(conv(64, 64)),
        # From here a tint over the whole picture can be told from the colour of a thing.
        Residual(conv(64, 64, dilation=2)),
        Residual(conv(64, 64, dilation=4)),
        nn.Conv2d(64, outside, 1),
    )


def _decoder(inside: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, 64, 3, padding=1),
        Residual(conv(64, 64)),
        Residual(conv(64, 64)),
        conv(64, 128, kernel=1),
        nn.PixelShuffle(2),
        Residual(conv(32, 32)),
        Residual(conv(32, 32)),
        nn.Conv2d(32, 12, 3, padding=1),
        nn.PixelShuffle(2),
    )


class AutoencoderNetwork(nn.Module):
    """Encoder and decoder; with ``variational`` the latent is a Gaussian."""

    def __init__(self, *, variational: bool, channels: int = 8) -> None:
        super().__init__()
        self.variational = variational
        self.encoder = _encoder(2 * channels if variational else channels)
        self.decoder = _decoder(channels)

    def encode(self, x: Tensor) -> Posterior:
        """``[B, 3, 64, 64]`` in [0, 1] to its posterior; an AE's has no variance."""
        latent = self.encoder((x - 0.5) / 0.25)
        if not self.variational:
            return Posterior(latent, torch.full_like(latent, float("-inf")))
        mean, log_variance = latent.chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-12, 4))

    def decode(self, latent: Tensor) -> Tensor:
        """``[B, C, 16, 16]`` to pixels in [0, 1]."""
        return torch.sigmoid(self.decoder(latent).float())
