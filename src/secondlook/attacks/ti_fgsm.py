"""TI-FGSM, whose gradient stands for those at all small shifts of the image."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from secondlook.attacks.base import Evaluation, Objective
from secondlook.attacks.mi_fgsm import MIFGSM
from secondlook.bounds import Count
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.registry import register


@register("attack", "ti-fgsm")
@dataclass(frozen=True, kw_only=True)
class TIFGSM(MIFGSM):
    """MI-FGSM along gradients under a Gaussian blur (Dong et al. 2019, arXiv 1904.02884).

    Attributes:
        kernel: side of the Gaussian kernel in pixels, odd; it reaches over three deviations to
            each side, as published.

    Raises:
        InvalidInput: a kernel that has no middle.
    """

    kernel: Count = 15

    def __post_init__(self) -> None:
        if self.kernel % 2 == 0:
            raise InvalidInput(f"kernel={self.kernel} has no middle; write an odd number, 15")

    def gradient(self, objective: Objective, x: Tensor, keys: Keys) -> tuple[Tensor, Evaluation]:
        """The gradient at ``x``, blurred."""
        gradient, evaluation = super().gradient(objective, x, keys)
        rows, columns = (_blur(n, self.kernel).to(gradient) for n in gradient.shape[-2:])
        return rows @ gradient @ columns, evaluation


@lru_cache(maxsize=64)
def _blur(length: int, kernel: int) -> Tensor:
    """What the Gaussian kernel makes of ``length`` pixels in a row, ``[length, length]``."""
    weights = torch.exp(-(torch.linspace(-3, 3, kernel).double() ** 2) / 2)
    apart = torch.arange(length)[:, None] - torch.arange(length) + kernel // 2
    inside = (apart >= 0) & (apart < kernel)
    return (weights / weights.sum())[apart.clamp(0, kernel - 1)] * inside
