"""A small denoising U-Net over scenes that are folded to 16×16 patches of 4×4 pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.scenes.networks.layers import sinusoid


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
        time = self.embed(sinusoid(t, self.time_width))
        high = self.high1(self.stem(F.pixel_unshuffle(x, 4)), time)
        low = self.low2(self.low1(self.down(high), time), time)
        merged = torch.cat([high, F.pixel_shuffle(self.up(low), 2)], dim=1)
        return F.pixel_shuffle(self.head(self.high2(merged, time)), 4).float()


class Schedule:
    """The linear schedule of DDPM (Ho et al. 2020): a thousand steps, beta from 1e-4 to 0.02."""

    steps = 1000

    def __init__(self) -> None:
        beta = torch.linspace(1e-4, 0.02, self.steps, dtype=torch.float64)
        self.kept = torch.cumprod(1 - beta, dim=0).float()

    def noised(self, x: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """``x_t`` of a clean ``x`` in [-1, 1]."""
        kept = self.kept.to(x)[t].view(-1, 1, 1, 1)
        return kept.sqrt() * x + (1 - kept).sqrt() * noise

    def ratio(self, t: Tensor) -> Tensor:
        """The weight of the picture over that of the noise at the steps ``t``, ``[B, 1, 1, 1]``."""
        kept = self.kept[t].view(-1, 1, 1, 1)
        return (kept / (1 - kept)).sqrt()
