"""From one modality into the other: captions that a model writes, images that a model paints.

What is made for a sample depends on its name alone, and so it is made once and kept.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.hardening.lessons import Examples
from secondlook.models import load
from secondlook.models.base import Model, resized
from secondlook.models.captioner import Captioner
from secondlook.models.painter import Painter
from secondlook.randomness import Keys
from secondlook.threat import LEVELS

Slot = tuple[str, int]
"""The name of a sample, and which of its takes it is."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """Image to text: a caption by a model, at random with a key of the sample.

    Attributes:
        captioner: who writes.
        takes: different captions of one image.
    """

    captioner: Captioner
    takes: int = 1
    kept: dict[Slot, str] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, batch: Examples, keys: Keys) -> list[str]:
        """A caption of each image, ``B`` long; an image of which nothing is said keeps its first.

        Raises:
            InvalidInput: the captioner says nothing of any image of the batch.
        """
        slots = _slots(batch, keys, self.takes)
        new = _missing(slots, self.kept)
        if new:
            _follow(self.captioner, batch.images)
            told = self.captioner.caption(
                _fitted(batch.images[new], self.captioner.size), _own([slots[row] for row in new]),
                style="greedy" if self.takes == 1 else "sample", top_p=0.9, length=40,
            )  # fmt: skip
            if not any(text.split() for text in told):
                raise InvalidInput(
                    f"{self.captioner.name} says nothing of {len(new)} images; name another "
                    "captioner, or write captioned=0"
                )
            self.kept.update(zip((slots[row] for row in new), told, strict=True))
        firsts = batch.chosen(keys, "first")
        pairs = zip(slots, firsts, strict=True)
        return [self.kept[slot] if self.kept[slot].split() else first for slot, first in pairs]


@dataclass(frozen=True, kw_only=True)
class Painted:
    """Text to image: a picture of a sample's first caption, by a key of the sample.

    Attributes:
        painter: who paints.
        takes: different pictures of one caption.
    """

    painter: Painter
    takes: int = 1
    kept: dict[Slot, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, batch: Examples, keys: Keys) -> Tensor:
        """A picture for each image, ``[B, 3, H, W]`` in [0, 1], of the images' own size.

        Raises:
            InvalidInput: the painter fails, or its pictures show the same whatever they are of.
        """
        slots = _slots(batch, keys, self.takes)
        new = _missing(slots, self.kept)
        if new:
            _follow(self.painter, batch.images)
            texts = [batch.captions[row][0] for row in new]
            made = self.painter.paint(texts, _own([slots[row] for row in new])).cpu()
            _check(made, texts, self.painter.name)
            self.kept.update(zip((slots[row] for row in new), _bytes(made), strict=True))
        held = torch.stack([self.kept[slot] for slot in slots]).to(batch.images) / LEVELS
        return resized(held, *batch.images.shape[-2:])


def _slots(batch: Examples, keys: Keys, takes: int) -> list[Slot]:
    """Which take of each sample is asked for; the key of the moment draws it."""
    return list(zip(batch.ids, keys.fold("take").integers(takes), strict=True))


def _missing(slots: Sequence[Slot], kept: Container[Slot]) -> list[int]:
    """The first row of each slot that is not kept."""
    first = {slot: row for row, slot in reversed(list(enumerate(slots)))}
    return sorted(row for slot, row in first.items() if slot not in kept)


def _own(slots: Sequence[Slot]) -> Keys:
    """Keys that are the sample's and the take's, and not the moment's."""
    return Keys.of(0, [f"{name} {take}" for name, take in slots]).fold("crossing")


def _follow(model: Model, images: Tensor) -> None:
    """Brings a model to where the images are."""
    if model.modules and model.movable and model.place != images.device:
        model.to(images.device)


def _fitted(x: Tensor, size: tuple[int, int] | None) -> Tensor:
    return x if size is None else resized(x, *size)


def _bytes(made: Tensor) -> Tensor:
    return (made * LEVELS).round().to(torch.uint8)


def _check(made: Tensor, texts: Sequence[str], name: str) -> None:
    """Refuses pictures of nothing, and what is the same picture of everything."""
    mend = "name another painter, or write painted=0"
    flat = made.flatten(1)
    if bool((flat.amax(1) - flat.amin(1) < 1 / LEVELS).all()):
        raise InvalidInput(f"{name} paints images of one value each; {mend}")
    if len(set(texts)) > 1 and bool(((flat - flat[0]).abs().amax(1) < 1 / LEVELS).all()):
        raise InvalidInput(f"{name} paints the same image of {len(set(texts))} texts; {mend}")


def helper(given: object, kind: type, setting: str, example: str) -> Any:
    """A model that was given, or the one of this name, of the kind that a setting asks for.

    Raises:
        UnknownName: there is none of this name.
        InvalidInput: it is of another kind.
    """
    model = load(given) if isinstance(given, str) else given
    if not isinstance(model, kind):
        raise InvalidInput(
            f"{setting}={given!r} is no {kind.__name__.lower()}; try {setting}={example}"
        )
    return model
