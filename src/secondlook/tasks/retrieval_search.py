"""Searching: vectors of images and captions, the ranks they give, and ranking anew by a matcher."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Final, NamedTuple

import torch
from torch import Tensor

from secondlook.attacks.pairs import Captions
from secondlook.errors import InvalidInput
from secondlook.metrics.ranks import Rerank, Right, leading, ranked
from secondlook.metrics.retrieval import Groups
from secondlook.models.base import Embedder, Matcher, evaluating
from secondlook.models.runtime.textcache import cached

SHOWN: Final = 5
"""Answers that the report shows."""
_LONG: Final = 20
"""Words up to which a caption is taken to be read to its end: every known context holds them."""
_SAME: Final = 1e-4
_IMAGES: Final = 8
_PAIRS: Final = 512
Read = Callable[[Sequence[int]], Tensor]


class TextVectors:
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
        # Not in the order of a set, which changes with each process: texts of a batch are felt in the last digits.
        fresh = sorted(dict.fromkeys(text for text in texts if text not in self._places), key=len)
        if fresh:
            first = len(self._places)
            self._places.update((text, first + row) for row, text in enumerate(fresh))
            with evaluating(self.embedder.modules):
                found = cached(self.embedder, fresh) if keep else self.embedder.embed_text(fresh)
            self._vectors.append(found.to(self.device))
        rows = torch.tensor([self._places[text] for text in texts], device=self.device)
        return torch.cat(self._vectors)[rows]


class Answers(NamedTuple):
    """What a search should find; images and texts go by their positions in the task.

    Attributes:
        texts: for each image the texts that answer it.
        images: for each text the images that answer it.
    """

    texts: Right
    images: Right


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
                raise InvalidInput(f"the model answers {kind} with NaN; look at its weights and normalization")


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
class Reranking:
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
    query: Side, gallery: Side, rights: Sequence[Answers], owner: Sequence[int], again: Reranking | None = None
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
        query.images, gallery.texts, [right.texts for right in rights], again=again.texts if again else None, top=top
    )
    images = ranked(
        query.texts, gallery.images, [right.images for right in rights], again=again.images if again else None, top=top
    )
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
    query: Side, gallery: Side, images: int, texts: int, again: Reranking | None
) -> tuple[list[list[int]], list[list[int]]]:
    """The first answers to the first ``images``, and those to the first ``texts``."""
    if not images:
        return [], []
    top, by_texts, by_images = (again.top, again.texts, again.images) if again else (0, None, None)
    found = leading(query.images[:images], gallery.texts, SHOWN, by_texts, top)
    shown = leading(query.texts[:texts], gallery.images, SHOWN, by_images, top)
    return found.tolist(), shown.tolist()


def sides_of(setting: str) -> tuple[int, int]:
    """Whether what is searched by, and what is searched in, is clean (0) or altered (1)."""
    return int(setting != "gallery"), int(setting != "query")


def flat(captions: Sequence[Sequence[str]]) -> list[str]:
    """All captions in a row."""
    return list(chain.from_iterable(captions))


class Rematcher:
    """Scores queries with their candidates by a matcher's logit of *match*."""

    def __init__(self, model: Matcher, read: Read, texts: Sequence[str], *, by_image: bool) -> None:
        self.model, self.read, self.texts, self.by_image = model, read, texts, by_image

    def __call__(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """Scores ``[b, k]``; pairs are looked at image by image, whoever asks."""
        asks = queries.to(candidates.device)[:, None].expand_as(candidates).reshape(-1)
        given = candidates.reshape(-1)
        images, texts = (asks, given) if self.by_image else (given, asks)
        scores = torch.zeros(len(images), device=candidates.device)
        shown = torch.unique(images)
        for start in range(0, len(shown), _IMAGES):
            some = shown[start : start + _IMAGES]
            at = torch.isin(images, some).nonzero()[:, 0]
            place = torch.searchsorted(some, images[at])
            scores[at] = self._match(some.tolist(), place, texts[at]).to(scores)
        return scores.view_as(candidates)

    def _match(self, rows: Sequence[int], place: Tensor, texts: Tensor) -> Tensor:
        x, found = self.read(rows), []
        for start in range(0, len(place), _PAIRS):
            part = slice(start, start + _PAIRS)
            wanted, words = torch.unique(texts[part], return_inverse=True)
            pairs = torch.stack([place[part], words], dim=1)
            with torch.no_grad(), evaluating(self.model.modules):
                logits = self.model.match_logits(x, [self.texts[t] for t in wanted], pairs)
            found.append(logits[:, 1])
        return torch.cat(found)


def check_readable(model: Embedder, ids: Sequence[str], captions: Captions) -> None:
    """Has the model read the captions that it may refuse, before anything is attacked.

    Raises:
        InvalidInput: it does.
    """
    for name, texts in zip(ids, captions, strict=True):
        for number, text in enumerate(texts):
            if re.search(r"[a-z0-9]", text.lower()):
                continue
            try:
                with evaluating(model.modules):
                    model.embed_text([text])
            except InvalidInput as error:
                raise InvalidInput(
                    f"caption {number} of image {name} cannot be read by {model.name}: {error}; "
                    "write it anew, or take it out"
                ) from error


def notices(model: Embedder, texts: Sequence[str], owner: Sequence[int], vectors: Tensor) -> list[str]:
    """What is to be said of the reading of captions.

    Args:
        model: reads them.
        texts: ``T`` captions.
        owner: for each its image.
        vectors: their unit vectors, ``[T, D]``.
    """
    found = []
    if cut := _cut(model, texts, vectors):
        found.append(
            f"{cut} of {len(texts)} captions are longer than {model.name} reads; their ends are "
            "cut off, and nothing that is changed there is seen"
        )
    if alike := _alike(texts, owner, vectors):
        found.append(
            f"{alike} of {len(texts)} captions have the vector of another image's caption that "
            f"says something else: {model.name} does not know their words, or cuts them off"
        )
    return found


def _cut(model: Embedder, texts: Sequence[str], vectors: Tensor) -> int:
    """How many are as they would be without their last word."""
    long = [row for row, text in enumerate(texts) if len(text.split()) > _LONG]
    if not long:
        return 0
    with evaluating(model.modules):
        short = model.embed_text([" ".join(texts[row].split()[:-1]) for row in long])
    away = (short.to(vectors) - vectors[torch.tensor(long, device=vectors.device)]).norm(dim=1)
    return int((away < _SAME).sum())


def _alike(texts: Sequence[str], owner: Sequence[int], vectors: Tensor) -> int:
    """How many have the vector of another image's text, of other words.

    Vectors that are the same lie beside each other along any direction.
    """
    rows = vectors.double().cpu()
    along = rows @ torch.linspace(-1, 1, rows.shape[1], dtype=rows.dtype).cos()
    order = along.argsort()
    beside = (rows[order[1:]] - rows[order[:-1]]).norm(dim=1) < _SAME
    return sum(
        len(group)
        for group in _runs(order.tolist(), beside.tolist())
        if len({owner[row] for row in group}) > 1 and len({_words(texts[row]) for row in group}) > 1
    )


def _runs(order: Sequence[int], beside: Sequence[bool]) -> Iterator[list[int]]:
    """Rows in a row that each lie beside the next."""
    run = list(order[:1])
    for row, near in zip(order[1:], beside, strict=True):
        if not near:
            yield run
            run = []
        run.append(row)
    yield run


def _words(text: str) -> str:
    """The words of a text; where it has none, whatever it has."""
    return " ".join(re.findall(r"\w+", text.casefold())) or text
