"""Small image towers of other kinds, for eyes that are not fooled together with the large ones."""

from __future__ import annotations

from torch import Tensor, nn

from secondlook.scenes.networks.layers import Residual


def _calm(inside: int, outside: int, stride: int = 1, kernel: int = 3) -> nn.Sequential:
    """Convolution, group normalisation, SiLU; a picture does not lean on its batch."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, kernel, stride, kernel // 2),
        nn.GroupNorm(8, outside),
        nn.SiLU(),
    )


class NarrowTower(nn.Sequential):
    """``[B, 3, 64, 64] -> [B, dim]`` by narrow convolutions without batch normalisation."""

    def __init__(self, dim: int) -> None:
        super().__init__(
            _calm(3, 24, stride=2, kernel=5),
            _calm(24, 48, stride=2),
            Residual(_calm(48, 48)),
            _calm(48, 72, stride=2),
            Residual(_calm(72, 72)),
            nn.Conv2d(72, 16, 1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(16 * 64, dim),
        )


class _Mixing(nn.Module):
    """Mixes the 8×8 places, then the channels of each (MLP-Mixer, arXiv 2105.01601)."""

    def __init__(self, width: int, places: int = 64) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.across = nn.Sequential(nn.Linear(places, places), nn.GELU(), nn.Linear(places, places))
        self.within = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.across(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        out: Tensor = x + self.within(self.norms[1](x))
        return out


class MixerTower(nn.Module):
    """``[B, 3, 64, 64] -> [B, dim]``: patches, a wide glance at each, then mixing of places."""

    def __init__(self, dim: int, width: int = 80, depth: int = 3) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 48, 4, 4),
            nn.GELU(),
            nn.GroupNorm(1, 48),
            Residual(nn.Sequential(nn.Conv2d(48, 48, 5, padding=2, groups=48), nn.GELU())),
            nn.Conv2d(48, width, 2, 2),
        )
        self.blocks = nn.Sequential(*(_Mixing(width) for _ in range(depth)))
        self.head = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 16), nn.GELU(), nn.Flatten(),
            nn.Linear(16 * 64, dim),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.blocks(self.stem(x).flatten(2).transpose(1, 2)))
        return out
