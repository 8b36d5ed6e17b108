"""Cross-modal augmentation: captions that a model writes, images that a model paints."""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.hardening.dataset import Batch
from secondlook.models import load
from secondlook.models.base import Model, resized
from secondlook.models.captioner import Captioner
from secondlook.models.painter import Painter
from secondlook.randomness import Keys
from secondlook.threat import LEVELS

Slot = tuple[str, int]
"""The name of a sample, and which of its variants."""


@dataclass(frozen=True, kw_only=True)
class GeneratedCaptions:
    """Image to text: a caption by a model, at random with a key of the sample.

    Attributes:
        captioner: the model.
        variants: different captions of one image.
    """

    captioner: Captioner
    variants: int = 1
    cache: dict[Slot, str] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, batch: Batch, keys: Keys) -> list[str]:
        """A caption of each image, ``B`` long; where the model writes none, the first one.

        Raises:
            InvalidInput: the captioner writes nothing for any image of the batch.
        """
        slots = _slots(batch, keys, self.variants)
        new = _missing(slots, self.cache)
        if new:
            _move_to(self.captioner, batch.images)
            texts = self.captioner.caption(
                _fitted(batch.images[new], self.captioner.size),
                _variant_keys([slots[row] for row in new]),
                style="greedy" if self.variants == 1 else "sample",
                top_p=0.9,
                length=40,
            )
            if not any(text.split() for text in texts):
                raise InvalidInput(
                    f"{self.captioner.name} writes nothing for {len(new)} images; name another "
                    "captioner, or write captioned=0"
                )
            self.cache.update(zip((slots[row] for row in new), texts, strict=True))
        firsts = batch.pick_captions(keys, "first")
        pairs = zip(slots, firsts, strict=True)
        return [self.cache[slot] if self.cache[slot].split() else first for slot, first in pairs]


@dataclass(frozen=True, kw_only=True)
class GeneratedImages:
    """Text to image: an image of a sample's first caption, by a key of the sample.

    Attributes:
        painter: the model.
        variants: different images of one caption.
    """

    painter: Painter
    variants: int = 1
    cache: dict[Slot, Tensor] = field(default_factory=dict, repr=False, compare=False)

    def __call__(self, batch: Batch, keys: Keys) -> Tensor:
        """An image for each image, ``[B, 3, H, W]`` in [0, 1], of the images' own size.

        Raises:
            InvalidInput: the painter fails, or its images do not depend on the text.
        """
        slots = _slots(batch, keys, self.variants)
        new = _missing(slots, self.cache)
        if new:
            _move_to(self.painter, batch.images)
            texts = [batch.captions[row][0] for row in new]
            made = self.painter.paint(texts, _variant_keys([slots[row] for row in new])).cpu()
            _check(made, texts, self.painter.name)
            self.cache.update(zip((slots[row] for row in new), _bytes(made), strict=True))
        held = torch.stack([self.cache[slot] for slot in slots]).to(batch.images) / LEVELS
        return resized(held, *batch.images.shape[-2:])


def _slots(batch: Batch, keys: Keys, variants: int) -> list[Slot]:
    """Which variant of each sample is asked for; the key of the step draws it."""
    return list(zip(batch.ids, keys.fold("take").integers(variants), strict=True))


def _missing(slots: Sequence[Slot], cache: Container[Slot]) -> list[int]:
    """The first row of each slot that is not cached."""
    first = {slot: row for row, slot in reversed(list(enumerate(slots)))}
    return sorted(row for slot, row in first.items() if slot not in cache)


def _variant_keys(slots: Sequence[Slot]) -> Keys:
    """Keys of sample and variant alone, the same in every step."""
    return Keys.of(0, [f"{name} {variant}" for name, variant in slots]).fold("crossing")


def _move_to(model: Model, images: Tensor) -> None:
    """Moves a model to the device of the images."""
    if model.modules and model.movable and model.device != images.device:
        model.to(images.device)


def _fitted(x: Tensor, size: tuple[int, int] | None) -> Tensor:
    return x if size is None else resized(x, *size)


def _bytes(made: Tensor) -> Tensor:
    return (made * LEVELS).round().to(torch.uint8)


def _check(made: Tensor, texts: Sequence[str], name: str) -> None:
    """Refuses images of one value, and the same image for every text."""
    fix = "name another painter, or write painted=0"
    flat = made.flatten(1)
    if bool((flat.amax(1) - flat.amin(1) < 1 / LEVELS).all()):
        raise InvalidInput(f"{name} paints images of one value each; {fix}")
    if len(set(texts)) > 1 and bool(((flat - flat[0]).abs().amax(1) < 1 / LEVELS).all()):
        raise InvalidInput(f"{name} paints the same image of {len(set(texts))} texts; {fix}")


def load_model(given: object, kind: type, setting: str, example: str) -> Any:
    """A model that was given, or the one of this name, of the kind that a setting asks for.

    Raises:
        UnknownName: there is none of this name.
        InvalidInput: it is of another kind.
    """
    model = load(given) if isinstance(given, str) else given
    if not isinstance(model, kind):
        raise InvalidInput(f"{setting}={given!r} is no {kind.__name__.lower()}; try {setting}={example}")
    return model
