"""Models and data that are held in memory, under names by which a study finds them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from secondlook.api.inputs import pixels
from secondlook.data.base import Samples, Source
from secondlook.errors import InvalidInput, UnknownName
from secondlook.labels import labels
from secondlook.models.base import Model, resized
from secondlook.registry import digest, register
from secondlook.threat import LEVELS

FAMILY = "memory"


@dataclass(frozen=True, kw_only=True)
class _Held:
    """A family of what is held for now."""

    name: str
    held: ClassVar[dict[str, Any]]

    @classmethod
    def listed(cls) -> dict[str, str]:
        """What is held."""
        return dict.fromkeys(cls.held, "held in memory")

    def load(self) -> Any:
        """What is held under the name.

        Raises:
            UnknownName: nothing is.
        """
        if self.name not in self.held:
            raise UnknownName(f"object of the family {FAMILY}:", self.name, self.held)
        return self.held[self.name]

    @classmethod
    @contextmanager
    def holding(cls, name: str, value: Any) -> Iterator[str]:
        """Holds ``value`` inside the block; gives the name that finds it."""
        key = name if name not in cls.held else f"{name}-{id(value):x}"
        cls.held[key] = value
        try:
            yield f"{FAMILY}:{key}"
        finally:
            del cls.held[key]


@register("model", FAMILY)
@dataclass(frozen=True, kw_only=True)
class ModelInMemory(_Held):
    """A model that a Python program holds."""

    held: ClassVar[dict[str, Model]] = {}


@register("data", FAMILY)
@dataclass(frozen=True, kw_only=True)
class DataInMemory(_Held):
    """Images that a Python program holds."""

    held: ClassVar[dict[str, Source]] = {}


class MemorySource(Source):
    """Images in memory, as an 8-bit file holds them.

    Args:
        images: ``[B, C, H, W]`` uint8.
        truth: ``[B]``.
        classes: the names that ``truth`` counts.
        prompt: the template that makes a text of a name.

    Raises:
        InvalidInput: a label that is none of the classes.
    """

    def __init__(self, images: Tensor, truth: Tensor, classes: Sequence[str], prompt: str = "{}") -> None:
        self.images, self.classes, self.prompt = images, tuple(classes), prompt
        self.truth = labels(truth, len(images), len(self.classes))
        self.ids = tuple(f"{row:06d}" for row in range(len(images)))

    @property
    def hash(self) -> str:
        """Of the pixels and labels themselves."""
        held = (self.images.numpy().tobytes(), self.truth.numpy().tobytes())
        return digest([hashlib.sha256(part).hexdigest() for part in held] + [self.classes])

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """The images ``rows``, resized where the model has a size of its own."""
        at = torch.tensor(list(rows), dtype=torch.long)
        images = self.images[at].float() / LEVELS
        return Samples(resized(images, *size) if size else images, self.truth[at])


def collected(data: Any, samples: int = 0) -> tuple[Tensor, Tensor]:
    """Images ``[B, C, H, W]`` uint8 and labels ``[B]``, out of whatever gives pairs of them.

    Args:
        data: a pair ``(x, y)``; a data set of pairs; or a ``DataLoader`` or another iterable of
            batches of pairs.
        samples: how many of the first samples to take; 0 takes all.

    Raises:
        InvalidInput: what is given are no pairs, or no images of one size.
    """
    parts: list[tuple[Tensor, Tensor]] = []
    held = 0
    for number, batch in enumerate(_batches(data)):
        x, y = _pair(batch, number)
        images = (x * LEVELS).round().to(torch.uint8).cpu()
        if parts and images.shape[1:] != parts[0][0].shape[1:]:
            sizes = [tuple(part.shape[1:]) for part in (parts[0][0], images)]
            raise InvalidInput(f"data has images of {sizes[0]} and of {sizes[1]}; resize them")
        parts.append((images, y.cpu()))
        held += len(y)
        if samples and held >= samples:
            break
    if not parts:
        raise InvalidInput("data gives nothing; give one batch or more")
    every = [torch.cat(column)[: samples or None] for column in zip(*parts, strict=True)]
    return every[0], every[1]


def _batches(data: Any) -> Iterable[Any]:
    """The batches or samples of whatever gives some.

    Raises:
        InvalidInput: it gives none.
    """
    if isinstance(data, tuple | list) and len(data) == 2 and isinstance(data[0], Tensor | np.ndarray):
        return [data]
    if isinstance(data, Tensor | np.ndarray | str | Mapping) or not (
        hasattr(data, "__iter__") or hasattr(data, "__getitem__")
    ):
        raise InvalidInput(
            f"data is {type(data).__name__}; give a pair (x, y), a DataLoader or Dataset of such "
            "pairs, or the name of a source such as 'scenes:test'"
        )
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        return (data[row] for row in range(len(data)))
    every: Iterable[Any] = data
    return every


def _pair(batch: Any, number: int) -> tuple[Tensor, Tensor]:
    """Pixels and labels of a batch, or of one sample.

    Raises:
        InvalidInput: it is no pair of them.
    """
    if isinstance(batch, Mapping):
        keys = [repr(key) for key in islice(batch, 6)]
        image, label = [*keys, "'image'", "'label'"][:2] if len(keys) > 1 else ("'image'", "'label'")
        raise InvalidInput(
            f"data gives dicts with {', '.join(keys)}; give pairs: ((batch[{image}], batch[{label}]) for batch in data)"
        )
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        what = f"{len(batch)} things" if isinstance(batch, tuple | list) else type(batch).__name__
        raise InvalidInput(f"data gives {what} at {number}; give pairs (x, y)")
    x, y = batch
    if isinstance(x, Tensor | np.ndarray) and x.ndim == 3:
        x, y = x[None], [y.item() if isinstance(y, Tensor | np.ndarray) and y.ndim == 0 else y]
    images = pixels(x, f"x of data, at {number},")
    return images, labels(y, len(images), field=f"y of data, at {number},")
