"""The embedded world as data: ``scenes:test`` and its other splits, rendered when read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from secondlook.bounds import Count, Natural
from secondlook.data import decoding, images
from secondlook.data.base import Captioned, Family, Samples, Source
from secondlook.errors import UnknownName
from secondlook.registry import digest, register
from secondlook.scenes.captions import PROMPT, Captions, captions, captions as sentences, class_names
from secondlook.scenes.renderer import camera_style, render
from secondlook.scenes.sampling import SPLITS, Split, sample
from secondlook.scenes.world import SIDE


class SceneBatch(NamedTuple):
    """Scenes side by side.

    Attributes:
        images: ``[n, 64, 64, 3]``, RGB in 0 to 255.
        captions: Five sentences for each image.
        labels: ``[n]``, the class of the main object in [0, 64).
    """

    images: NDArray[np.uint8]
    captions: list[Captions]
    labels: NDArray[np.int64]


def render_batch(seed: int, split: Split, indices: Iterable[int]) -> SceneBatch:
    """Render the scenes at ``indices`` of a split.

    Args:
        seed: Names the world, at least 0.
        split: Which part of the world.
        indices: Which scenes, in the order wanted.

    Returns:
        The batch; an empty one where there are no indices.

    Raises:
        SecondlookError: As ``sample`` raises it.
    """
    scenes = [sample(seed, split, int(index)) for index in indices]
    images = np.empty((len(scenes), SIDE, SIDE, 3), dtype=np.uint8)
    for row, scene in enumerate(scenes):
        images[row] = render(scene)
    labels = np.array([scene.label for scene in scenes], dtype=np.int64)
    return SceneBatch(images, [captions(scene) for scene in scenes], labels)


Rendered = TypeVar("Rendered", bound=Source)


class RenderedCaptions(Captioned, Generic[Rendered]):
    """The images of a rendered world, each with its five captions.

    Args:
        source: the same images by their class.
    """

    def __init__(self, source: Rendered) -> None:
        self.source, self.ids = source, source.ids
        self.provenance = source.provenance
        self._written: dict[int, tuple[str, ...]] = {}

    @abstractmethod
    def write_captions(self, row: int) -> tuple[str, ...]:
        """The five sentences of picture number ``row``, 0 or more."""

    def captions(self, row: int) -> tuple[str, ...]:
        """The five sentences of a picture."""
        if row not in self._written:
            self._written[row] = self.write_captions(range(len(self))[row])
        return self._written[row]

    @cached_property
    def texts(self) -> tuple[str, ...]:  # type: ignore[override]
        """The sentences of all pictures."""
        return tuple(text for row in range(len(self)) for text in self.captions(row))

    @cached_property
    def owner(self) -> tuple[int, ...]:  # type: ignore[override]
        """The picture of each sentence."""
        return tuple(row for row in range(len(self)) for _ in self.captions(row))

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """Renders the pictures ``rows``; the truth of each is its own row."""
        images, _ = self.source.read(rows, size)
        return Samples(images, torch.tensor([range(len(self))[row] for row in rows]))

    @property
    def hash(self) -> str:
        """The pictures' own: their sentences follow from them."""
        return digest([self.source.hash, "captions"])

    def labeled(self) -> Rendered:
        """The same pictures by their class."""
        return self.source


CAVEAT = (
    "The images are those of the embedded world: small rendered scenes that come with the package. "
    "They show how attack and defense behave there, not on photographs."
)
SHIFTED = "shifted"


class SceneSource(Source):
    """The first ``n`` scenes of a split under a seed; 64×64 pixels of their own."""

    prompt, provenance = PROMPT, CAVEAT

    def __init__(self, split: Split, n: int, seed: int) -> None:
        self.split, self.seed = split, seed
        self.ids = tuple(f"{self.id_prefix}-{row}" for row in range(n))
        self.classes = class_names()

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """Renders the scenes ``rows``; their truth is the class of the main object."""
        indices = [range(len(self))[row] for row in rows]
        rendered = render_batch(self.seed, self.split, indices)
        styled = [self.styled(*each) for each in zip(rendered.images, indices, strict=True)]
        pictures = [decoding.fit(Image.fromarray(pixels), size) for pixels in styled]
        stacked = images.stack(pictures, [self.ids[row] for row in indices])
        return Samples(stacked, torch.from_numpy(rendered.labels))

    @property
    def id_prefix(self) -> str:
        """What the scenes' names begin with."""
        return self.split

    def styled(self, picture: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """The image of scene number ``index``; to be overridden by other styles."""
        return picture

    @property
    def hash(self) -> str:
        """Names, classes and the world's seed."""
        return digest([super().hash, self.seed])

    def captioned(self) -> CaptionedScenes:
        """The same scenes, each with its five sentences."""
        return CaptionedScenes(self)


class CaptionedScenes(RenderedCaptions[SceneSource]):
    """Scenes with five captions each."""

    def write_captions(self, row: int) -> tuple[str, ...]:
        """The five sentences of a scene."""
        return sentences(sample(self.source.seed, self.source.split, row))


class ShiftedScenes(SceneSource):
    """Test scenes in a style that no model was trained on."""

    def __init__(self, n: int, seed: int) -> None:
        super().__init__("test", n, seed)

    @property
    def id_prefix(self) -> str:
        return SHIFTED

    def styled(self, picture: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        return camera_style(picture, sample(self.seed, self.split, index).key)


@register("data", "scenes")
@dataclass(frozen=True, kw_only=True)
class ScenesData(Family):
    """The embedded world, rendered as it is read: ``scenes:test``.

    Attributes:
        n: how many scenes.
        seed: names the world; the shipped models were trained in world 0.
    """

    n: Count = 1000
    seed: Natural = 0

    def load(self) -> SceneSource:
        """Opens the split ``name``.

        Raises:
            UnknownName: no such split.
        """
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
