"""Finding the texts of an image, and the image of a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Literal, NamedTuple, get_args

import torch

from secondlook import registry
from secondlook.attacks.pairs import Captions, Pairs
from secondlook.data import load
from secondlook.data.captioned import Captioned
from secondlook.data.captions import groups, normalised
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.tasks.retrieval_ranks import Right

Setting = Literal["query", "gallery", "both"]
SETTINGS: tuple[Setting, ...] = get_args(Setting)
"""What is attacked: the query alone, all that is searched, or both, as SGA and Co-Attack do."""


class PairBatch(NamedTuple):
    """Some images of the task with their captions.

    Attributes:
        ids: stable names of the images.
        rows: their positions in the source.
        pairs: images and captions.
        keys: one key per image.
    """

    ids: tuple[str, ...]
    rows: tuple[int, ...]
    pairs: Pairs
    keys: Keys


class Answers(NamedTuple):
    """What a search should find; images and texts go by their positions in the task.

    Attributes:
        texts: for each image the texts that answer it.
        images: for each text the images that answer it.
    """

    texts: Right
    images: Right


@register("task", "retrieval")
@dataclass(frozen=True, kw_only=True)
class RetrievalTask:
    """Searching texts by images and images by texts, several captions to an image.

    Attributes:
        data: a source with captions by name, ``scenes:test``, ``flickr8k:PATH``.
        samples: how many of its images; 0 takes all.
        captions: how many captions of each image; 0 takes all.
        form: captions as they are ``written``, or as ``sga`` prepares them: small letters, no
            punctuation, 30 words.
        attacked: what is attacked: ``query``, ``gallery``, ``both``; one row for each.
        rerank: how many of the first a model that can match image and text looks at again.
        seed: chooses the images.

    Raises:
        InvalidInput: a negative number.
    """

    data: str = "scenes:test"
    samples: int = 100
    captions: int = 0
    form: Literal["written", "sga"] = "written"
    attacked: tuple[Setting, ...] = SETTINGS
    rerank: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for field in ("samples", "captions", "rerank"):
            if getattr(self, field) < 0:
                raise InvalidInput(f"{field}={getattr(self, field)}; write a number from 0 on")
        if not self.attacked:
            raise InvalidInput('attacked = [] attacks nothing; write ["both"], say')

    def open(self) -> OpenRetrieval:
        """The task with its source found on disk.

        Raises:
            InvalidInput: the source has no captions, or fewer than two images.
        """
        return OpenRetrieval(self, load(self.data).captioned())


class OpenRetrieval:
    """A task whose images and captions can be read.

    Attributes:
        rows: the chosen images, as positions in the source; all other positions count these.
        ids: their names.
        captions: of each of them.
        device: where the images are put.
    """

    def __init__(self, task: RetrievalTask, source: Captioned) -> None:
        self.task, self.source = task, source
        self.device = torch.device("cpu")
        _check_unique(source.ids)
        keys = Keys.of(task.seed, source.ids)
        self.rows = tuple(keys.fold("choose").order()[: task.samples or None])
        if len(self.rows) < 2:
            raise InvalidInput(f"{task.data} gives {len(self.rows)} image(s); a search needs two")
        self.ids = tuple(source.ids[row] for row in self.rows)
        self.captions: Captions = tuple(map(self._captions, self.rows))

    @property
    def name(self) -> str:
        """How reports call it."""
        return f"{registry.describe(self.task)['name']} {self.task.data}"

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All captions, those of one image side by side."""
        return tuple(chain.from_iterable(self.captions))

    @cached_property
    def own(self) -> Answers:
        """Each caption belongs to its image alone, as published recalls have it."""
        return Answers(tuple(_positions(self.captions)), tuple((row,) for row in self.owner))

    @cached_property
    def alike(self) -> Answers:
        """A caption that says the same as another's belongs to both images."""
        texts: list[set[int]] = [set() for _ in self.rows]
        images: list[tuple[int, ...]] = [()] * len(self.texts)
        for group in groups(self.texts):
            bearers = sorted({self.owner[text] for text in group})
            for image in bearers:
                texts[image].update(group)
            for text in group:
                images[text] = tuple(bearers)
        return Answers(tuple(tuple(sorted(each)) for each in texts), tuple(images))

    @property
    def rights(self) -> list[Answers]:
        """``own``, and ``alike`` where it is another."""
        return [self.own] if self.alike == self.own else [self.own, self.alike]

    @cached_property
    def owner(self) -> tuple[int, ...]:
        """For each text its image."""
        return tuple(row for row, texts in enumerate(self.captions) for _ in texts)

    def batch(self, at: Sequence[int], size: tuple[int, int] | None) -> PairBatch:
        """The images at the positions ``at``, with their captions, at ``size``."""
        rows = tuple(self.rows[each] for each in at)
        ids = tuple(self.ids[each] for each in at)
        images = self.source.read(rows, size).images.to(self.device)
        pairs = Pairs(images, tuple(self.captions[each] for each in at))
        return PairBatch(ids, rows, pairs, Keys.of(self.task.seed, ids))

    def _captions(self, row: int) -> tuple[str, ...]:
        return self.prepared(self.source.ids[row], self.source.captions(row))

    def prepared(self, name: str, texts: tuple[str, ...]) -> tuple[str, ...]:
        """Captions of an image as the task takes them: so many, in its form.

        Args:
            name: of the image, for errors.
            texts: its captions.

        Raises:
            InvalidInput: there is none, or one has no word.
        """
        texts = texts[: self.task.captions or len(texts)]
        if self.task.form == "sga":
            texts = tuple(map(normalised, texts))
        if not texts:
            raise InvalidInput(f"image {name} has no caption; caption it, or take it out")
        for number, text in enumerate(texts):
            if not text.split():
                raise InvalidInput(f"caption {number} of image {name} has no word; take it out")
        return texts


def _positions(captions: Captions) -> Iterator[tuple[int, ...]]:
    """For each image the places of its captions among all of them."""
    start = 0
    for texts in captions:
        yield tuple(range(start, start + len(texts)))
        start += len(texts)


def _check_unique(ids: Sequence[str]) -> None:
    seen: set[str] = set()
    for name in ids:
        if name in seen:
            raise InvalidInput(f"two images are called {name}; give each a name of its own")
        seen.add(name)
