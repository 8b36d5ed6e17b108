"""Searching: the vectors of clean and altered images and captions, and the ranks they give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, evaluating
from secondlook.models.textcache import cached
from secondlook.tasks.retrieval import Answers, Setting
from secondlook.tasks.retrieval_metrics import Groups
from secondlook.tasks.retrieval_ranks import Rerank, leading, ranked

SHOWN: Final = 5
"""Answers that the report shows."""


class Reader:
    """The vectors of texts by one embedder, each different text read once.

    Two captions that are the same text have the very same vector, so that neither is before the
    other.
    """

    def __init__(self, embedder: Embedder, device: torch.device) -> None:
        self.embedder, self.device = embedder, device
        self._places: dict[str, int] = {}
        self._vectors: list[Tensor] = []

    def __call__(self, texts: Sequence[str], keep: bool = False) -> Tensor:
        """Unit vectors ``[T, D]``; those to ``keep`` are on disk for the next run."""
        fresh = sorted({text for text in texts if text not in self._places}, key=len)
        if fresh:
            first = len(self._places)
            self._places.update((text, first + row) for row, text in enumerate(fresh))
            with evaluating(self.embedder.modules):
                found = cached(self.embedder, fresh) if keep else self.embedder.embed_text(fresh)
            self._vectors.append(found.to(self.device))
        rows = torch.tensor([self._places[text] for text in texts], device=self.device)
        return torch.cat(self._vectors)[rows]


@dataclass(frozen=True, kw_only=True)
class Side:
    """All images and texts of a task, clean or altered, as one model sees them.

    Attributes:
        images: unit vectors ``[N, D]``.
        texts: unit vectors ``[T, D]``.

    Raises:
        InvalidInput: a vector is not a number.
    """

    images: Tensor
    texts: Tensor

    def __post_init__(self) -> None:
        for kind, vectors in (("images", self.images), ("texts", self.texts)):
            if bool(vectors.isnan().any()):
                raise InvalidInput(
                    f"the model answers {kind} with NaN; look at its weights and normalisation"
                )


@dataclass(frozen=True, kw_only=True)
class Found:
    """For each image the ranks of its searches, from 1 on.

    Attributes:
        image_to_text: of the image's own search, one.
        text_to_image: of the searches by its captions.
    """

    image_to_text: Groups
    text_to_image: Groups


@dataclass(frozen=True, kw_only=True)
class Matching:
    """How a matcher ranks the first anew, in either direction.

    Attributes:
        texts: ranks texts for an image.
        images: ranks images for a text.
        top: how many of the first.
    """

    texts: Rerank
    images: Rerank
    top: int


def search(
    query: Side,
    gallery: Side,
    rights: Sequence[Answers],
    owner: Sequence[int],
    again: Matching | None = None,
) -> list[Found]:
    """Searches texts by images and images by texts, and ranks by each notion of what is right.

    Args:
        query: what is searched by.
        gallery: what is searched in.
        rights: what should be found.
        owner: for each text its image.
        again: ranks the first anew, if anything does.
    """
    top = again.top if again else 0
    texts = ranked(
        query.images, gallery.texts, [right.texts for right in rights],
        again=again.texts if again else None, top=top,
    )  # fmt: skip
    images = ranked(
        query.texts, gallery.images, [right.images for right in rights],
        again=again.images if again else None, top=top,
    )  # fmt: skip
    return [
        Found(image_to_text=[[rank] for rank in own], text_to_image=_grouped(of_texts, owner))
        for own, of_texts in zip(texts.tolist(), images.tolist(), strict=True)
    ]


def _grouped(ranks: Sequence[int], owner: Sequence[int]) -> list[list[int]]:
    groups: list[list[int]] = [[] for _ in range(owner[-1] + 1)]
    for row, rank in zip(owner, ranks, strict=True):
        groups[row].append(rank)
    return groups


def leaders(
    query: Side, gallery: Side, images: int, texts: int, again: Matching | None
) -> tuple[list[list[int]], list[list[int]]]:
    """The first answers to the first ``images``, and those to the first ``texts``."""
    if not images:
        return [], []
    top, by_texts, by_images = (again.top, again.texts, again.images) if again else (0, None, None)
    found = leading(query.images[:images], gallery.texts, SHOWN, by_texts, top)
    shown = leading(query.texts[:texts], gallery.images, SHOWN, by_images, top)
    return found.tolist(), shown.tolist()


def sides_of(setting: Setting) -> tuple[int, int]:
    """Whether what is searched by, and what is searched in, is clean (0) or altered (1)."""
    return int(setting != "gallery"), int(setting != "query")


def flat(captions: Sequence[Sequence[str]]) -> list[str]:
    """All captions in a row."""
    return list(chain.from_iterable(captions))
