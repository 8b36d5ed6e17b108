"""DI-FGSM, whose gradients are those of the image resized and moved at random."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.attacks.mi_fgsm import MIFGSM
from secondlook.bounds import Part, Share
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import per_sample


@register("attack", "di-fgsm")
@dataclass(frozen=True, kw_only=True)
class DIFGSM(MIFGSM):
    """MI-FGSM on randomly resized and padded inputs (Xie et al. 2019, arXiv 1803.06978).

    The published code places images of 299 pixels on 330; here the canvas keeps the size that
    the model is made for, and the image on it is smaller by as much.

    Attributes:
        probability: the chance that an image is resized in a step.
        smallest: its least side, as a share.

    Raises:
        InvalidInput: a chance or a share outside its range.
    """

    probability: Share = 0.5
    smallest: Part = 299 / 330

    def view(self, x: Tensor, keys: Keys) -> Tensor:
        """Each image, or with a chance a smaller one somewhere on black."""
        return resized_and_padded(x, keys.fold("diversity"), self.probability, self.smallest)


def resized_and_padded(x: Tensor, keys: Keys, probability: float, smallest: float = 0.9) -> Tensor:
    """With ``probability`` each image is shrunk to ``smallest`` or more, somewhere on black."""
    draws = keys.uniform((4,), like=x)
    side = torch.where(draws[:, 0] < probability, smallest + (1 - smallest) * draws[:, 1], 1.0)
    shift = (1 - side) / side
    theta = torch.zeros(len(x), 2, 3, dtype=x.dtype, device=x.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / side
    theta[:, :, 2] = shift[:, None] * (2 * draws[:, 2:] - 1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    found = F.grid_sample(x, grid, align_corners=False)
    # An image that is not moved is the very same one, without the rounding of the sampler.
    return torch.where(per_sample(side < 1), found, x)
