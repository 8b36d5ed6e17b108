"""Rendered pictures with sentences that are written when they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Generic, TypeVar

import torch

from secondlook.data.base import Samples, Source
from secondlook.data.captioned import Captioned
from secondlook.registry import digest

Pictured = TypeVar("Pictured", bound=Source)


class Written(Captioned, Generic[Pictured]):
    """The pictures of a rendered world, each with its five sentences.

    Args:
        pictures: the same pictures by their class.
    """

    def __init__(self, pictures: Pictured) -> None:
        self.pictures, self.ids = pictures, pictures.ids
        self._written: dict[int, tuple[str, ...]] = {}

    @abstractmethod
    def write(self, row: int) -> tuple[str, ...]:
        """The five sentences of picture number ``row``, 0 or more."""

    def captions(self, row: int) -> tuple[str, ...]:
        """The five sentences of a picture."""
        if row not in self._written:
            self._written[row] = self.write(range(len(self))[row])
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
        images, _ = self.pictures.read(rows, size)
        return Samples(images, torch.tensor([range(len(self))[row] for row in rows]))

    @property
    def hash(self) -> str:
        """The pictures' own: their sentences follow from them."""
        return digest([self.pictures.hash, "captions"])

    def labelled(self) -> Pictured:
        """The same pictures by their class."""
        return self.pictures
