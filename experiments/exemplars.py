"""A painter for photographs where there is no generator: of a class that a text names it shows a photograph.

MirrorCheck (arXiv 2406.09250) paints the predicted class of CIFAR-10 by a text-to-image model; none is
small enough to come with the data here. ``python:experiments.exemplars:cifar10`` shows one of the
training photographs of the class instead, drawn by the key, which no test photograph is among.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from torch import Tensor

from secondlook.data import load
from secondlook.data.cifar import Archive
from secondlook.errors import InvalidInput
from secondlook.models.painter import Painter
from secondlook.randomness import Keys

TRAINING: Final = "data/cifar10/cifar10_train_jpeg.npz"


class Exemplars(Painter):
    """A photograph of the class that a text names; one of them all where it names none.

    Args:
        name: what results call it.
        source: labeled photographs of one size.
        size: height and width of them.

    Raises:
        InvalidInput: a class of which there is no photograph.
    """

    def __init__(self, name: str, source: Archive, size: tuple[int, int]) -> None:
        self.name, self.size, self.steps, self.guidance = name, size, 1, 1.0
        self._source = source
        self._rows: dict[str, list[int]] = {known: [] for known in source.classes}
        for row, label in enumerate(source.truth.tolist()):
            self._rows[source.classes[label]].append(row)
        empty = [known for known, rows in self._rows.items() if not rows]
        if empty:
            raise InvalidInput(f"{name} has no photograph of {empty[0]!r}; leave the class out or add one")

    def draw(self, texts: Sequence[str], keys: Keys, steps: int, guidance: float) -> Tensor:
        """A photograph for each text, ``[B, 3, H, W]``, whatever the steps and the guidance."""
        everyone = list(range(len(self._source)))
        rows = [self._rows.get(named(text, list(self._rows)), everyone) for text in texts]
        drawn = keys.uniform((1,))[:, 0].tolist()
        chosen = [some[int(at * len(some))] for some, at in zip(rows, drawn, strict=True)]
        return self._source.read(chosen, self.size).images


def named(text: str, classes: Sequence[str]) -> str:
    """The class whose name stands in a text as a word, the longest of several; empty for none."""
    found = [name for name in classes if re.search(rf"\b{re.escape(name)}\b", text)]
    return max(found, key=len, default="")


def cifar10() -> Exemplars:
    """Training photographs of CIFAR-10.

    Raises:
        InvalidInput: ``SECONDLOOK_SHARED`` names no folder with them.
    """
    path = Path(os.environ.get("SECONDLOOK_SHARED", "../shared")) / TRAINING
    if not path.exists():
        raise InvalidInput(f"no photographs at {path}; set SECONDLOOK_SHARED to the folder that holds {TRAINING}")
    source = load(f"cifar10:{path}")
    assert isinstance(source, Archive)
    return Exemplars("exemplars:cifar10", source, (32, 32))
