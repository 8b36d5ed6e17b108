"""Purifiers of scenes: an autoencoder, a variational one, and a diffusion model."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.models.purifiers.base import Frame, Latent, LatentPurifier, own_deviation
from secondlook.models.purifiers.diffusion import DiffusionPurifier
from secondlook.scenes.models.layers import Residual, conv, sinusoid
from secondlook.scenes.world import SIDE


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
        # From here a tint over the whole picture can be told from the color of an object.
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


class TimeResidual(nn.Module):
    """A residual block of two convolutions whose middle is shifted by the time embedding."""

    def __init__(self, inside: int, outside: int, time: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, inside), nn.GroupNorm(8, outside)
        self.conv1 = nn.Conv2d(inside, outside, 3, padding=1)
        self.conv2 = nn.Conv2d(outside, outside, 3, padding=1)
        self.time = nn.Linear(time, outside)
        self.skip = nn.Conv2d(inside, outside, 1) if inside != outside else nn.Identity()

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.gelu(self.norm1(x))) + self.time(time)[:, :, None, None]
        out: Tensor = self.skip(x) + self.conv2(F.gelu(self.norm2(h)))
        return out


class DenoiserNetwork(nn.Module):
    """Predicts the noise in ``x_t``; pixels are in [-1, 1] here, as DDPM has them."""

    def __init__(self, *, width: int = 64, deep: int = 128, time: int = 128) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.Linear(time, time), nn.GELU(), nn.Linear(time, time))
        self.stem = nn.Conv2d(48, width, 3, padding=1)
        self.high1 = TimeResidual(width, width, time)
        self.down = nn.Conv2d(width, deep, 3, 2, 1)
        self.low1, self.low2 = TimeResidual(deep, deep, time), TimeResidual(deep, deep, time)
        self.up = nn.Conv2d(deep, 4 * width, 1)
        self.high2 = TimeResidual(2 * width, width, time)
        self.head = nn.Conv2d(width, 48, 3, padding=1)
        self.time_width = time

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """Noise ``[B, 3, 64, 64]`` in ``x`` at the steps ``t`` in [0, 1000), ``[B]``."""
        if not len(x):  # torch's pixel_unshuffle hands an empty batch back with its channels as they were
            return x.float()
        time = self.embed(sinusoid(t, self.time_width))
        high = self.high1(self.stem(F.pixel_unshuffle(x, 4)), time)
        low = self.low2(self.low1(self.down(high), time), time)
        merged = torch.cat([high, F.pixel_shuffle(self.up(low), 2)], dim=1)
        return F.pixel_shuffle(self.head(self.high2(merged, time)), 4).float()


class NoiseSchedule:
    """The linear schedule of DDPM (Ho et al. 2020): a thousand steps, beta from 1e-4 to 0.02."""

    steps = 1000

    def __init__(self) -> None:
        beta = torch.linspace(1e-4, 0.02, self.steps, dtype=torch.float64)
        self.alpha_bar = torch.cumprod(1 - beta, dim=0).float()

    def noised(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """``x_t`` of a clean ``x`` in [-1, 1]."""
        kept = self.alpha_bar.to(x)[t].view(-1, 1, 1, 1)
        return kept.sqrt() * x + (1 - kept).sqrt() * noise

    def signal_to_noise(self, t: Tensor) -> Tensor:
        """The weight of the picture over that of the noise at the steps ``t``, ``[B, 1, 1, 1]``."""
        kept = self.alpha_bar[t].view(-1, 1, 1, 1)
        return (kept / (1 - kept)).sqrt()


FRAME = Frame(size=(SIDE, SIDE))


class SceneAutoencoder(LatentPurifier):
    """Through a 16×16 latent.

    Noise is the temperature of a VAE's posterior, 1 by default; with an AE it counts standard
    deviations of the image's own code, 0 by default.
    """

    def __init__(self, name: str, network: AutoencoderNetwork, *, noise: float | None = None) -> None:
        self.network = network
        strength = float(network.variational) if noise is None else noise
        super().__init__(name, (network,), noise=strength, frame=FRAME)

    def encode(self, x: Tensor) -> Latent:
        mean, log_variance = self.network.encode(x)
        if not self.network.variational:
            return own_deviation(mean)
        return Latent(mean, (0.5 * log_variance).exp())

    def decode(self, code: Tensor) -> Tensor:
        return self.network.decode(code)


class SceneDiffusion(DiffusionPurifier):
    """Through a DDPM of scenes; noise is t* as a share of its thousand steps."""

    def __init__(self, name: str, network: DenoiserNetwork, *, noise: float = 0.05, strides: int = 1) -> None:
        self.network = network
        kept = NoiseSchedule().alpha_bar.tolist()
        super().__init__(name, (network,), kept=kept, noise=noise, strides=strides, frame=FRAME)

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        guess: Tensor = self.network(x, t)
        return guess
