"""Adversarial images that somebody else made, beside the images they were made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secondlook.data import images
from secondlook.data.base import Samples, Source
from secondlook.errors import InvalidInput
from secondlook.models.photographs import DEVIATION, MEAN
from secondlook.registry import digest

Array = NDArray[Any]

PROVENANCE: Final = "imported adversarial images: their attack is unknown, their threat unchecked"

_ROUNDING: Final = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle(Source):
    """Adversarial images made elsewhere, beside the images they were made from.

    Attributes:
        ids: ``STEM-ROW``.
        classes: names of all classes, the first of several synonyms.
        indices: the published index of each class.
        truth: the class of each image before it was attacked.
        targets: the class that the attacker wanted of it; may be its own.
        prompt: the template around a class name.
        changed: the adversarial images, ``[n, 3, H, W]``, on disk.
        clean: what they were made from, likewise.
        normalised: whether both are in CLIP's normalised pixels.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    indices: tuple[int, ...]
    truth: tuple[int, ...]
    targets: tuple[int, ...]
    prompt: str
    changed: Array
    clean: Array
    normalised: bool
    provenance: str = PROVENANCE

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """The adversarial images ``rows``, with the classes they had before.

        Raises:
            InvalidInput: another size is asked for than theirs, which would undo the attack, or
                pixels are outside [0, 1].
        """
        return Samples(
            self._batch(self.changed, rows, size), torch.tensor([self.truth[r] for r in rows])
        )

    def originals(self, rows: Sequence[int], size: tuple[int, int] | None) -> Tensor:
        """The images that ``rows`` were made from, ``[B, 3, H, W]``; raises as ``read`` does."""
        return self._batch(self.clean, rows, size)

    def distance(self, rows: Sequence[int]) -> Tensor:
        """The largest change of a pixel, ``[B]``: the eps that was really spent, L∞."""
        return (self.read(rows, None).images - self.originals(rows, None)).abs().amax((1, 2, 3))

    @property
    def hash(self) -> str:
        """Names, classes and targets."""
        return digest([super().hash, self.truth, self.targets, self.normalised])

    def _batch(self, held: Array, rows: Sequence[int], size: tuple[int, int] | None) -> Tensor:
        own = tuple(held.shape[-2:])
        if size is not None and tuple(size) != own:
            raise InvalidInput(
                f"{self.ids[0]} and the others are {own[0]}x{own[1]}; at {size[0]}x{size[1]} the "
                "attack would be another one; take a model of their size"
            )
        pictures = [self._pixels(held[row], self.ids[row]) for row in rows]
        return images.stack(pictures, [self.ids[row] for row in rows])

    def _pixels(self, held: Array, name: str) -> Tensor:
        pixels = torch.from_numpy(np.array(held, dtype=np.float32))
        if self.normalised:
            pixels = pixels * torch.tensor(DEVIATION)[:, None, None]
            pixels = pixels + torch.tensor(MEAN)[:, None, None]
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            other = "unit" if self.normalised else "normalised"
            raise InvalidInput(
                f"{name}: its pixels lie in [{low:.3g}, {high:.3g}] and must lie in [0, 1]; "
                f"is pixels={other!r} meant?"
            )
        return pixels.clamp(0, 1)
