"""STL-10: photographs of ten kinds of things, at 96 by 96 pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from secondlook.data.base import Family, part_of
from secondlook.data.planar import Planar, checked, mapped
from secondlook.errors import InvalidInput, UnknownName
from secondlook.registry import register

SIDE: Final = 96
CLASSES: Final = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


@register("data", "stl10")
@dataclass(frozen=True, kw_only=True)
class Stl10(Family):
    """STL-10 (Coates et al. 2011), its binary version: ``stl10:FOLDER#test``.

    The folder is ``stl10_binary`` as published, or what holds it: ``test_X.bin`` and
    ``test_y.bin``, and the same for ``train``.

    Attributes:
        prompt: makes a text of a class name.
    """

    prompt: str = "a photo of a {}."

    def load(self) -> Planar:
        """Maps the images and reads the labels.

        Raises:
            UnknownName: no such split.
            InvalidInput: a file is missing or truncated, or there are not as many labels as images.
        """
        folder, split = part_of(self.name)
        split = split or "test"
        if split not in ("test", "train"):
            raise UnknownName("split of STL-10 with labels", split, ("test", "train"))
        if (folder / "stl10_binary").is_dir():
            folder = folder / "stl10_binary"
        pixels = mapped(folder / f"{split}_X.bin", 3 * SIDE * SIDE)
        labels = mapped(folder / f"{split}_y.bin", 1)
        if len(labels) != len(pixels):
            raise InvalidInput(
                f"{folder}: {split}_X.bin has {len(pixels)} images and {split}_y.bin "
                f"{len(labels)} labels; load both again"
            )
        # Each plane is published column by column; its labels count from 1.
        planes = pixels.reshape(-1, 3, SIDE, SIDE).transpose(0, 1, 3, 2)
        numbers = [int(label) - 1 for label in labels[:, 0]]
        return Planar(
            ids=tuple(f"{split}-{row}" for row in range(len(pixels))),
            classes=CLASSES,
            truth=checked(numbers, len(CLASSES), folder / f"{split}_y.bin"),
            prompt=self.prompt,
            parts=(planes,),
            files=(folder / f"{split}_X.bin",),
        )
