"""Which of several ways each sample goes, by weights and its key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.hardening.augment.base import Repaint
from secondlook.hardening.lessons import Examples
from secondlook.randomness import Keys

Tell = Callable[[Examples, Keys], list[str]]
"""A caption for each image of a batch, ``B`` long."""


def drawn(weights: Mapping[str, float], keys: Keys) -> list[str]:
    """A way for each sample, with chances in proportion to the weights.

    Raises:
        InvalidInput: a weight is negative, or none is above 0.
    """
    check(weights)
    bounds = torch.tensor(list(weights.values())).cumsum(0)
    at = keys.uniform((1,)).flatten() * bounds[-1]
    places = torch.searchsorted(bounds, at, right=True).clamp(max=len(bounds) - 1)
    return [list(weights)[place] for place in places.tolist()]


def check(weights: Mapping[str, float]) -> None:
    """Refuses weights that nothing can be drawn by.

    Raises:
        InvalidInput: a weight is negative, or none is above 0.
    """
    for name, weight in weights.items():
        if weight < 0:
            raise InvalidInput(f"{name}={weight:g}; a weight is 0 or more")
    if not any(weights.values()):
        raise InvalidInput(f"{', '.join(weights)} are all 0; give one of them a weight")


@dataclass(frozen=True, kw_only=True)
class TextMixture:
    """One caption of each image, by one of several ways.

    Attributes:
        ways: by name.
        weights: by the same names.
    """

    ways: Mapping[str, Tell]
    weights: Mapping[str, float]

    def __call__(self, batch: Examples, keys: Keys) -> list[str]:
        """``B`` captions; a way is gone for its own samples alone."""
        names = drawn(self.weights, keys.fold("text"))
        found: list[str] = [""] * len(names)
        for name in dict.fromkeys(names):
            rows = _rows(names, name)
            told = self.ways[name](batch.take(rows), keys[torch.tensor(rows)])
            for row, text in zip(rows, told, strict=True):
                found[row] = text
        return found


def repainted(x: Tensor, keys: Keys, repaint: Repaint, weights: Mapping[str, float]) -> Tensor:
    """The images, some of them repainted: those whose key draws the second weight, not the first.

    Args:
        x: ``[B, 3, H, W]``.
        keys: one per image.
        repaint: what is done to those.
        weights: that of leaving an image alone, and that of repainting it.
    """
    _, changed = weights
    names = drawn(weights, keys.fold("image"))
    rows = torch.tensor(_rows(names, changed), dtype=torch.long)
    if not len(rows):
        return x
    made = x.clone()
    made[rows.to(x.device)] = repaint(x[rows.to(x.device)], keys[rows])
    return made


def _rows(names: Sequence[str], name: str) -> list[int]:
    return [row for row, each in enumerate(names) if each == name]
