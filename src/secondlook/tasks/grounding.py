"""Finding the thing on an image that a text speaks of, without having been trained to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from secondlook.attacks.pairs import Pairs
from secondlook.data import load
from secondlook.data.base import Source
from secondlook.data.refcoco import Grounded
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.scenes.sampling import sample
from secondlook.scenes.source import SceneSource
from secondlook.scenes.world import SIDE
from secondlook.tasks.grounding_goal import Estrange, Misdirect
from secondlook.tasks.grounding_maps import Site, Weights, find_site, heat
from secondlook.tasks.grounding_metrics import Pointed, pointed

Aim = Literal["map", "cosine"]
AIMS: tuple[Aim, ...] = get_args(Aim)
"""What an attack on an image climbs: the map that points, or the cosine that it is made from."""


class Query(NamedTuple):
    """A text and what it speaks of.

    Attributes:
        text: the text.
        box: left, top, width and height as shares of the image.
    """

    text: str
    box: tuple[float, float, float, float]


class GroundingBatch(NamedTuple):
    """Some images of the task, each with one text.

    Attributes:
        ids: stable names of the images.
        pairs: images ``[B, 3, H, W]`` in [0, 1] and the text of each, as attacks on pairs take it.
        boxes: ``[B, 4]``: left, top, width and height as shares of the image.
        keys: one key per image.
    """

    ids: tuple[str, ...]
    pairs: Pairs
    boxes: Tensor
    keys: Keys


@register("task", "grounding")
@dataclass(frozen=True, kw_only=True)
class GroundingTask:
    """Pointing at what a text speaks of, one text an image.

    Attributes:
        data: a source that knows boxes, ``scenes:test`` or ``refcoco:FILE.json``.
        samples: how many of its images; 0 takes all.
        weights: how features are weighed, see :data:`secondlook.tasks.grounding_maps.Weights`.
        contrast: look for what sets a text apart from the others of the task, its vector less
            their mean, and not for all that it has in common with them.
        threshold: the share of the peak from which a place counts as found.
        side: height and width that the images are brought to; 0 leaves it to the model.
        seed: chooses the images, and of each one a text.

    Raises:
        InvalidInput: a negative number of samples, or a negative side.
    """

    data: str = "scenes:test"
    samples: int = 100
    weights: Weights = "mean"
    contrast: bool = True
    threshold: float = 0.5
    side: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 0:
            raise InvalidInput(f"samples={self.samples}; write how many images, or 0 for all")
        if self.side < 0:
            raise InvalidInput(f"side={self.side}; write a number of pixels, or 0 to leave images")

    def open(self) -> OpenGrounding:
        """The task with its source found on disk.

        Raises:
            InvalidInput: the source knows no boxes.
        """
        return OpenGrounding(self, load(self.data))


class OpenGrounding:
    """A task whose images can be read.

    Attributes:
        rows: the chosen images, as positions in the source.
        ids: their names.
        queries: the text of each, and its box.
        device: where the images are put.

    Raises:
        InvalidInput: no image of the source has a text to ask for.
    """

    def __init__(self, task: GroundingTask, source: Source) -> None:
        self.task, self.source = task, source
        self.device = torch.device("cpu")
        keys, ask = Keys.of(task.seed, source.ids), _asking(source)
        asked = ((row, ask(row)) for row in keys.fold("choose").order())
        found = [(row, queries) for row, queries in asked if queries]
        if not found:
            raise InvalidInput(f"{task.data} has no image with a text and a box; look at its files")
        chosen = found[: task.samples or None]
        self.rows = tuple(row for row, _ in chosen)
        self.ids = tuple(source.ids[row] for row in self.rows)
        luck = [keys[np.array([row])].fold("query") for row in self.rows]
        self.queries = tuple(
            queries[key.integers(len(queries))[0]]
            for key, (_, queries) in zip(luck, chosen, strict=True)
        )

    @property
    def name(self) -> str:
        """How reports call it."""
        return f"grounding {self.task.data}"

    @property
    def chance(self) -> float:
        """The share of pixels inside a box: how often a random finger hits."""
        return float(np.mean([query.box[2] * query.box[3] for query in self.queries]))

    def batch(self, at: Sequence[int], size: tuple[int, int] | None) -> GroundingBatch:
        """The images at the positions ``at``, at the task's side or ``size``, with text and box."""
        size = (self.task.side,) * 2 if self.task.side else size
        queries, ids = [self.queries[row] for row in at], tuple(self.ids[row] for row in at)
        images = self.source.read([self.rows[row] for row in at], size).images.to(self.device)
        texts = tuple((query.text,) for query in queries)
        boxes = torch.tensor([query.box for query in queries]).reshape(-1, 4)
        return GroundingBatch(ids, Pairs(images, texts), boxes, Keys.of(self.task.seed, ids))

    def maps(self, pairs: Pairs, model: Embedder, site: Site | None = None) -> Tensor:
        """Where the model finds what the texts of ``pairs`` speak of, ``[B, H, W]``, 1 at its best.

        Args:
            pairs: a text each, and of each one image or more side by side: several looks, the mean
                of whose maps is taken.
            model: the embedder.
            site: see :func:`~secondlook.tasks.grounding_maps.find_site`; None looks for it.

        Raises:
            InvalidInput: the model has no spatial features.
        """
        looks = len(pairs.images) // max(len(pairs.captions), 1)
        vectors = self.directions(pairs, model).repeat_interleave(looks, 0)
        each = heat(model, pairs.images, vectors, site, self.task.weights)
        return each.unflatten(0, (-1, looks)).mean(1) if looks > 1 else each

    def pointed(self, maps: Tensor, boxes: Tensor) -> Pointed:
        """How well maps ``[B, H, W]`` fit the boxes of a batch."""
        return pointed(maps, boxes, self.task.threshold)

    def objective(
        self, batch: GroundingBatch, model: Embedder, aim: Aim = "map"
    ) -> Misdirect | Estrange:
        """What an attacker on the images climbs: how the model is made to point, or its cosine.

        Raises:
            InvalidInput: the model has no spatial features.
        """
        if aim == "cosine":
            texts = [text for (text,) in batch.pairs.captions]
            return Estrange(model=model, vectors=model.embed_text(texts).to(batch.pairs.images))
        return Misdirect(
            model=model, vectors=self.directions(batch.pairs, model), boxes=batch.boxes,
            site=find_site(model, batch.pairs.images[0]), weights=self.task.weights,
        )  # fmt: skip

    def directions(self, pairs: Pairs, model: Embedder) -> Tensor:
        """What the model looks for, for the text of each pair, ``[B, D]``."""
        vectors = model.embed_text([text for (text,) in pairs.captions])
        if self.task.contrast:
            common = sorted({query.text for query in self.queries})
            vectors = vectors - model.embed_text(common).mean(0)
        return vectors.to(pairs.images)


def _asking(source: Source) -> Callable[[int], Sequence[Query]]:
    """What can be asked of each image of a source."""
    if isinstance(source, SceneSource):
        return lambda row: _of_scene(source, row)
    if isinstance(source, Grounded):
        return lambda row: _of_photograph(source, row)
    raise InvalidInput(
        f"{type(source).__name__} knows no boxes; name scenes:test or refcoco:FILE.json"
    )


def _of_scene(source: SceneSource, row: int) -> Sequence[Query]:
    """The things that no other thing of the scene is named like."""
    things = sample(source.seed, source.split, row).things
    names = [f"a {thing.colour} {thing.shape}" for thing in things]
    return [
        Query(name, _shares(*thing.box))
        for name, thing in zip(names, things, strict=True)
        if names.count(name) == 1
    ]


def _shares(
    left: float, top: float, right: float, bottom: float
) -> tuple[float, float, float, float]:
    return left / SIDE, top / SIDE, (right - left) / SIDE, (bottom - top) / SIDE


def _of_photograph(source: Grounded, row: int) -> Sequence[Query]:
    texts = [text for text, owner in enumerate(source.owner) if owner == row]
    boxes = source.boxes(texts).tolist()
    return [Query(source.texts[t], tuple(b)) for t, b in zip(texts, boxes, strict=True)]
