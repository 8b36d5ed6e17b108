"""The embedded world as data: ``scenes:test`` and its other splits, rendered when read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from secondlook.data import decoding, images
from secondlook.data.base import Samples, Source
from secondlook.data.family import Family
from secondlook.errors import InvalidInput, UnknownName
from secondlook.registry import digest, register
from secondlook.scenes.captions import PROMPT, class_names
from secondlook.scenes.captions import captions as sentences
from secondlook.scenes.dataset import batch
from secondlook.scenes.sampling import SPLITS, Split, sample
from secondlook.scenes.styles import photographed
from secondlook.scenes.written import Written

SHIFTED = "shifted"


class SceneSource(Source):
    """The first ``n`` scenes of a split under a seed; 64×64 pixels of their own."""

    prompt = PROMPT

    def __init__(self, split: Split, n: int, seed: int) -> None:
        self.split, self.seed = split, seed
        self.ids = tuple(f"{self.series}-{row}" for row in range(n))
        self.classes = class_names()

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """Renders the scenes ``rows``; their truth is the class of the main object."""
        indices = [range(len(self))[row] for row in rows]
        rendered = batch(self.seed, self.split, indices)
        seen = [self.seen(*each) for each in zip(rendered.images, indices, strict=True)]
        pictures = [decoding.fit(Image.fromarray(pixels), size) for pixels in seen]
        stacked = images.stack(pictures, [self.ids[row] for row in indices])
        return Samples(stacked, torch.from_numpy(rendered.labels))

    @property
    def series(self) -> str:
        """What the scenes' names begin with."""
        return self.split

    def seen(self, picture: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """How scene number ``index`` is shown; a seam for other styles."""
        return picture

    @property
    def hash(self) -> str:
        """Names, classes and the world's seed."""
        return digest([super().hash, self.seed])

    def captioned(self) -> CaptionedScenes:
        """The same scenes, each with its five sentences."""
        return CaptionedScenes(self)


class CaptionedScenes(Written[SceneSource]):
    """Scenes with five captions each."""

    def write(self, row: int) -> tuple[str, ...]:
        """The five sentences of a scene."""
        return sentences(sample(self.pictures.seed, self.pictures.split, row))


class ShiftedScenes(SceneSource):
    """Test scenes in a style that no model was trained on."""

    def __init__(self, n: int, seed: int) -> None:
        super().__init__("test", n, seed)

    @property
    def series(self) -> str:
        return SHIFTED

    def seen(self, picture: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        return photographed(picture, sample(self.seed, self.split, index).key)


@register("data", "scenes")
@dataclass(frozen=True, kw_only=True)
class Scenes(Family):
    """The embedded world, rendered as it is read: ``scenes:test``.

    Attributes:
        n: how many scenes.
        seed: names the world; the shipped models were trained in world 0.
    """

    n: int = 1000
    seed: int = 0

    def load(self) -> SceneSource:
        """Opens the split ``name``.

        Raises:
            UnknownName: no such split.
            InvalidInput: fewer than one scene, or a negative seed.
        """
        if self.n < 1 or self.seed < 0:
            raise InvalidInput(f"n={self.n}, seed={self.seed}: n must be 1 or more, seed 0 or more")
        if self.name == SHIFTED:
            return ShiftedScenes(self.n, self.seed)
        if self.name not in SPLITS:
            raise UnknownName("split of scenes", self.name, (*SPLITS, SHIFTED))
        return SceneSource(self.name, self.n, self.seed)

    @staticmethod
    def listed() -> dict[str, str]:
        """The splits, and the style that nothing was trained on."""
        return dict(_LINES)


_LINES: dict[str, str] = {
    "test": "scenes held out to report on",
    "calibration": "scenes held out to set thresholds by, drawn like those of test",
    "val": "scenes held out to choose by",
    "train": "scenes that the shipped models were trained on",
    SHIFTED: "test scenes as an old camera takes them: a style that no model was trained on",
}
