"""What a training reads: images with classes, captions or both, a batch at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from secondlook.data.base import Source
from secondlook.data.captioned import Captioned
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.registry import digest
from secondlook.scenes.captions import PROMPT, class_names
from secondlook.scenes.sampling import Split
from secondlook.scenes.tokenizer import Tokenizer
from secondlook.scenes.training.images import SceneSet

Need = Literal["images", "classes", "captions"]
Which = Literal["first", "any", "others"]


class Examples(NamedTuple):
    """A batch to learn from.

    Attributes:
        ids: the names of the samples, which key their randomness.
        images: ``[B, 3, H, W]`` in [0, 1].
        truth: the class of each, ``[B]``; where there are no classes, its own row in the data.
        captions: those of each image; none where the data has none.
    """

    ids: tuple[str, ...]
    images: Tensor
    truth: Tensor
    captions: tuple[tuple[str, ...], ...]

    def to(self, device: torch.device) -> Examples:
        """The same batch elsewhere."""
        return self._replace(images=self.images.to(device), truth=self.truth.to(device))

    def chosen(self, keys: Keys, which: Which = "any") -> list[str]:
        """One caption of each image: its first, or one that its key draws, of all or the others."""
        if which == "first":
            return [own[0] for own in self.captions]
        pools = [own[1:] or own if which == "others" else own for own in self.captions]
        drawn = keys.fold("caption").integers(2**32)
        return [pool[draw % len(pool)] for pool, draw in zip(pools, drawn, strict=True)]

    def take(self, rows: Sequence[int]) -> Examples:
        """Some of the samples."""
        at = torch.tensor(rows)
        return Examples(
            tuple(self.ids[row] for row in rows), self.images[at], self.truth[at],
            tuple(self.captions[row] for row in rows) if self.captions else (),
        )  # fmt: skip


class Lessons(ABC):
    """Images to learn from.

    Attributes:
        ids: one stable name per sample.
        classes: the names of the classes; none where there are only captions.
        prompt: the template that makes a text of a class name.
        captioned: whether each image has captions.
        told: what it is, for a model card.
        hash: identifies it.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    prompt: str
    captioned: bool
    told: str
    hash: str

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def read(self, rows: Sequence[int]) -> Examples:
        """The samples ``rows``, in this order."""

    def texts(self) -> list[str]:
        """The prompt of each class."""
        return [self.prompt.replace("{}", name) for name in self.classes]


class SceneLessons(Lessons):
    """Scenes in memory, with classes and five captions each.

    Args:
        scenes: rendered, with captions as token ids.
        split: the part of the world that they are of.
        seed: the world's.
    """

    classes = class_names()
    prompt = PROMPT
    captioned = True

    def __init__(self, scenes: SceneSet, split: Split, seed: int) -> None:
        self.scenes, self.tokenizer = scenes, Tokenizer()
        self.ids = tuple(f"{split}-{row}" for row in range(len(scenes)))
        self.told = f"the first {len(scenes)} scenes of the {split} split, seed {seed}"
        self.hash = digest(self.told)

    def read(self, rows: Sequence[int]) -> Examples:
        """The scenes ``rows``; captions come back in lower case and without punctuation."""
        at = torch.tensor(rows)
        words = self.scenes.captions[at]
        captions = tuple(tuple(self.tokenizer.decode(five.tolist())) for five in words)
        ids = tuple(self.ids[row] for row in rows)
        return Examples(ids, self.scenes.images(at), self.scenes.labels[at], captions)


class SourceLessons(Lessons):
    """Any source of images, read from where they lie.

    Args:
        source: images with classes or captions.
        need: what has to be there.
        size: height and width that the images are trained at; None keeps the source's own.
        name: what the user called the source.

    Raises:
        InvalidInput: what the method needs is not there.
    """

    def __init__(self, source: Source, need: Need, size: tuple[int, int] | None, name: str) -> None:
        if need == "captions":
            source = source.captioned()
        self.source = source.labelled() if need == "classes" else source
        self.captioned = isinstance(self.source, Captioned)
        if need == "classes" and self.captioned:
            raise InvalidInput(
                f"{name} has captions and no classes, which this method needs; take "
                "--method tecoa-itr, or a set with classes: folder:PATH"
            )
        if isinstance(self.source, Captioned):
            _refuse_silence(self.source, name)
        self.size, self.ids, self.prompt = size, self.source.ids, self.source.prompt
        self.classes = () if self.captioned else self.source.classes
        self.told, self.hash = f"{len(self)} images of {name}", self.source.hash

    def read(self, rows: Sequence[int]) -> Examples:
        """The images ``rows``."""
        images, truth = self.source.read(rows, self.size)
        ids = tuple(self.ids[row] for row in rows)
        if not isinstance(self.source, Captioned):
            return Examples(ids, images, truth, ())
        captions = tuple(self.source.captions(row) for row in rows)
        return Examples(ids, images, truth, captions)


def _refuse_silence(source: Captioned, name: str) -> None:
    """Refuses a set of which an image has no caption to learn from.

    Raises:
        InvalidInput: see above; the message names the first.
    """
    told = {row for text, row in zip(source.texts, source.owner, strict=True) if text.split()}
    silent = [name for row, name in enumerate(source.ids) if row not in told]
    if silent:
        raise InvalidInput(
            f"{len(silent)} of {len(source)} images of {name} have no caption, {silent[0]} the "
            "first; caption them, or take them out"
        )
