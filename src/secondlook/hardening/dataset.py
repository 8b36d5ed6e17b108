"""The images that a training reads, with classes, captions or both, a batch at a time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from secondlook.attacks.pairs import Preserves
from secondlook.data.base import Captioned, Source
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.registry import digest
from secondlook.scenes.captions import PROMPT, class_names
from secondlook.scenes.parsing import preserves
from secondlook.scenes.sampling import Split, sample
from secondlook.scenes.tokenizer import Tokenizer
from secondlook.scenes.training.dataset import SceneSet

Requirement = Literal["images", "classes", "captions"]
CaptionChoice = Literal["first", "any", "others"]
"""Which of an image's captions may be taken."""


class Batch(NamedTuple):
    """A batch of samples.

    Attributes:
        ids: the names of the samples, which key their randomness.
        images: ``[B, 3, H, W]`` in [0, 1].
        truth: the class of each, ``[B]``; where there are no classes, its own row in the data.
        captions: those of each image; none where the data has none.
        preserves: of each image who knows what is true of it; none where nobody does.
    """

    ids: tuple[str, ...]
    images: Tensor
    truth: Tensor
    captions: tuple[tuple[str, ...], ...]
    preserves: tuple[Preserves, ...] = ()

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        return self._replace(images=self.images.to(device), truth=self.truth.to(device))

    def pick_captions(self, keys: Keys, choice: CaptionChoice = "any") -> list[str]:
        """One caption of each image: its first, or one that its key draws, of all or the others."""
        if choice == "first":
            return [own[0] for own in self.captions]
        pools = [own[1:] or own if choice == "others" else own for own in self.captions]
        drawn = keys.fold("caption").integers(2**32)
        return [pool[draw % len(pool)] for pool, draw in zip(pools, drawn, strict=True)]

    def take(self, rows: Sequence[int]) -> Batch:
        """Some of the samples."""
        at = torch.tensor(rows)
        return Batch(
            tuple(self.ids[row] for row in rows),
            self.images[at],
            self.truth[at],
            tuple(self.captions[row] for row in rows) if self.captions else (),
            tuple(self.preserves[row] for row in rows) if self.preserves else (),
        )


DrawCaptions = Callable[[Batch, Keys], list[str]]
"""A caption for each image of a batch, ``B`` long; one key each."""
DrawImages = Callable[[Batch, Keys], Tensor]
"""An image for each of a batch, ``[B, 3, H, W]`` in [0, 1]; one key each."""


class Dataset(ABC):
    """Images to train on.

    Attributes:
        ids: one stable name per sample.
        classes: the names of the classes; none where there are only captions.
        prompt: the template that makes a text of a class name.
        has_captions: whether each image has captions.
        description: what it is, for a model card.
        hash: identifies it.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    prompt: str
    has_captions: bool
    description: str
    hash: str

    def __len__(self) -> int:
        return len(self.ids)

    @abstractmethod
    def read(self, rows: Sequence[int]) -> Batch:
        """The samples ``rows``, in this order."""

    def texts(self) -> list[str]:
        """The prompt of each class."""
        return [self.prompt.replace("{}", name) for name in self.classes]


class SceneDataset(Dataset):
    """Scenes in memory, with classes and five captions each.

    Args:
        scenes: rendered, with captions as token ids.
        split: the part of the world that they are of.
        seed: the world's.
    """

    classes = class_names()
    prompt = PROMPT
    has_captions = True

    def __init__(self, scenes: SceneSet, split: Split, seed: int) -> None:
        self.scenes, self.tokenizer = scenes, Tokenizer()
        self._world = (seed, split)
        self.ids = tuple(f"{split}-{row}" for row in range(len(scenes)))
        self.description = f"the first {len(scenes)} scenes of the {split} split, seed {seed}"
        self.hash = digest(self.description)

    def read(self, rows: Sequence[int]) -> Batch:
        """The scenes ``rows``; captions come back in lower case and without punctuation."""
        at = torch.tensor(rows)
        words = self.scenes.captions[at]
        captions = tuple(tuple(self.tokenizer.decode(five.tolist())) for five in words)
        ids = tuple(self.ids[row] for row in rows)
        knows = tuple(partial(self._preserves, row) for row in rows)
        return Batch(ids, self.scenes.images(at), self.scenes.labels[at], captions, knows)

    def _preserves(self, row: int, before: str, after: str) -> bool:
        return preserves(before, after, sample(*self._world, row))


class SourceDataset(Dataset):
    """Any source of images, read when they are needed.

    Args:
        source: images with classes or captions.
        need: what has to be there.
        size: height and width that the images are trained at; None keeps the source's own.
        name: what the user called the source.

    Raises:
        InvalidInput: what the method needs is not there.
    """

    def __init__(self, source: Source, need: Requirement, size: tuple[int, int] | None, name: str) -> None:
        if need == "captions":
            source = source.captioned()
        self.source = source.labeled() if need == "classes" else source
        self.has_captions = isinstance(self.source, Captioned)
        if need == "classes" and self.has_captions:
            raise InvalidInput(
                f"{name} has captions and no classes, which this method needs; take "
                "--method tecoa-itr, or a set with classes: folder:PATH"
            )
        if isinstance(self.source, Captioned):
            _require_captions(self.source, name)
        self.size, self.ids, self.prompt = size, self.source.ids, self.source.prompt
        self.classes = () if self.has_captions else self.source.classes
        self.description, self.hash = f"{len(self)} images of {name}", self.source.hash

    def read(self, rows: Sequence[int]) -> Batch:
        """The images ``rows``."""
        images, truth = self.source.read(rows, self.size)
        ids = tuple(self.ids[row] for row in rows)
        if not isinstance(self.source, Captioned):
            return Batch(ids, images, truth, ())
        captions = tuple(self.source.captions(row) for row in rows)
        return Batch(ids, images, truth, captions)


def _require_captions(source: Captioned, name: str) -> None:
    """Refuses a source of which an image has no caption.

    Raises:
        InvalidInput: see above; the message names the first.
    """
    captioned = {row for text, row in zip(source.texts, source.owner, strict=True) if text.split()}
    missing = [name for row, name in enumerate(source.ids) if row not in captioned]
    if missing:
        raise InvalidInput(
            f"{len(missing)} of {len(source)} images of {name} have no caption, {missing[0]} the "
            "first; caption them, or take them out"
        )
