"""Which of several ways each sample goes, by weights and its key."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.hardening.lessons import Examples
from secondlook.randomness import Keys

Tell = Callable[[Examples, Keys], list[str]]
"""A caption for each image of a batch, ``B`` long."""
Show = Callable[[Examples, Keys], Tensor]
"""A look of each image of a batch, ``[B, 3, H, W]`` in [0, 1]."""


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


@dataclass(frozen=True, kw_only=True)
class ImageMixture:
    """One look of each image, by one of several ways, or left alone.

    Attributes:
        ways: by name.
        weights: by the same names, and the first of them of leaving an image alone.
    """

    ways: Mapping[str, Show]
    weights: Mapping[str, float]

    def __call__(self, batch: Examples, keys: Keys) -> Tensor:
        """``[B, 3, H, W]``; a way is gone for its own samples alone."""
        names = drawn(self.weights, keys.fold("image"))
        made = batch.images
        for name in dict.fromkeys(names):
            if name not in self.ways:
                continue
            rows = _rows(names, name)
            shown = self.ways[name](batch.take(rows), keys[torch.tensor(rows)])
            made = made.clone() if made is batch.images else made
            made[torch.tensor(rows, device=made.device)] = shown
        return made


def _rows(names: Sequence[str], name: str) -> list[int]:
    return [row for row, each in enumerate(names) if each == name]
