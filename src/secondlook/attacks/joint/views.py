"""The views of an image that an attack climbs together: other scales, noise, moved about."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.threat import per_sample

SHRINK = 0.9
"""The smallest side, as a share, that a moved image is drawn at (DI, arXiv 1803.06978)."""


@dataclass(frozen=True, kw_only=True)
class Views:
    """An image, and the same at other scales under noise (SGA, arXiv 2307.14061).

    Attributes:
        scales: each adds a copy that is resized by it and back, both bicubic.
        noise: deviation of the noise that such a copy gets first, in pixel units.
        diversity: the chance that a view is made smaller and put somewhere on black.

    Raises:
        InvalidInput: a scale that is no positive number, or a chance outside [0, 1].
    """

    scales: tuple[float, ...] = ()
    noise: float = 0.05
    diversity: float = 0.0

    def __post_init__(self) -> None:
        for scale in self.scales:
            if not 0 < scale < 8:
                raise InvalidInput(f"scale {scale:g} is outside (0, 8); write 0.5, say")
        if not 0 <= self.diversity <= 1:
            raise InvalidInput(f"diversity={self.diversity:g} is a chance; write 0 to 1")

    @property
    def count(self) -> int:
        """Views of each image."""
        return len(self.scales) + 1

    def __call__(self, x: Tensor, keys: Keys) -> Tensor:
        """The views of a batch, ``[count * B, 3, H, W]`` in [0, 1]: all images once, and again."""
        views = [x]
        for scale in self.scales:
            noise = keys.fold("scale", str(scale)).normal(x.shape[1:], like=x)
            views.append(scaled((x + self.noise * noise).clamp(0, 1), scale))
        if self.diversity:
            views = [
                moved(view, keys.fold("move", at), self.diversity) for at, view in enumerate(views)
            ]
        return torch.cat(views) if len(views) > 1 else views[0]


def scaled(x: Tensor, scale: float) -> Tensor:
    """``x`` resized by ``scale`` and back to its size, bicubic, in [0, 1]."""
    height, width = x.shape[-2:]
    size = (max(1, int(height * scale)), max(1, int(width * scale)))
    return _resized(_resized(x, size), (height, width))


def _resized(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bicubic resizing as two matrix products, which take half the time, backwards a third."""
    rows, columns = (_bicubic(*pair).to(x) for pair in zip(x.shape[-2:], size, strict=True))
    return (rows @ x @ columns.T).clamp(0, 1)


@lru_cache(maxsize=64)
def _bicubic(before: int, after: int) -> Tensor:
    """What bicubic resizing makes of ``before`` pixels in a row, ``[after, before]``."""
    points = torch.eye(before).view(1, before, before, 1)
    made = F.interpolate(points, (after, 1), mode="bicubic", align_corners=False)
    return made[0, :, :, 0].T.contiguous()


def moved(x: Tensor, keys: Keys, chance: float) -> Tensor:
    """With ``chance`` each image is shrunk by up to a tenth and put somewhere on black."""
    draws = keys.uniform((4,), like=x)
    side = torch.where(draws[:, 0] < chance, SHRINK + (1 - SHRINK) * draws[:, 1], 1.0)
    room = (1 - side) / side
    theta = torch.zeros(len(x), 2, 3, dtype=x.dtype, device=x.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / side
    theta[:, :, 2] = room[:, None] * (2 * draws[:, 2:] - 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    found = F.grid_sample(x, grid, align_corners=False)
    # An image that is not moved is the very same one, without the rounding of the sampler.
    return torch.where(per_sample(side < 1), found, x)
