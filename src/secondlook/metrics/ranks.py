"""Where a search finds what it looks for: ranks, block by block, ties never for the truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import torch
from torch import Tensor

from secondlook.errors import InvalidInput

ENTRIES: Final = 1 << 24
"""Cosines that are held at once, 64 MiB of them; the whole matrix never is."""
Right = Sequence[Sequence[int]]
"""For each query the rows of the gallery that answer it, one or more."""


class Rerank(Protocol):
    """Ranks anew what the cosines put first: a matcher, say (ALBEF, TCL, BLIP)."""

    def __call__(self, queries: Tensor, candidates: Tensor) -> Tensor:
        """Scores ``[b, k]``, higher is a better match.

        Args:
            queries: ``[b]``, rows of the queries.
            candidates: ``[b, k]``, for each of them rows of the gallery.
        """
        ...


def ranks(
    queries: Tensor, gallery: Tensor, right: Right, *, again: Rerank | None = None, top: int = 0, entries: int = ENTRIES
) -> Tensor:
    """The rank of the best right answer of each query, ``[Q]``, from 1 on.

    Whatever scores as high as the best right answer, or is no number, stands before it.

    Args:
        queries: unit vectors ``[Q, D]``.
        gallery: unit vectors ``[N, D]``.
        right: for each query the rows of the gallery that answer it.
        again: ranks the first ``top`` anew by other scores; the rest keep their places behind.
        top: how many.
        entries: cosines that are held at once.

    Example:
        >>> axes = torch.eye(3)
        >>> ranks(axes, axes, [[0], [2], [1, 2]]).tolist()
        [1, 3, 1]

    Raises:
        InvalidInput: a query without an answer, or with one that is not in the gallery.
    """
    return ranked(queries, gallery, [right], again=again, top=top, entries=entries)[0]


def ranked(
    queries: Tensor,
    gallery: Tensor,
    rights: Sequence[Right],
    *,
    again: Rerank | None = None,
    top: int = 0,
    entries: int = ENTRIES,
) -> Tensor:
    """As :func:`ranks` for several notions of what is right, ``[len(rights), Q]``, in one search.

    Raises:
        InvalidInput: as :func:`ranks`.
    """
    answers = [_padded(right, len(queries), len(gallery)).to(gallery.device) for right in rights]
    top = min(top, len(gallery)) if again is not None else 0
    found = [torch.zeros(len(rights), 0, dtype=torch.long, device=gallery.device)]
    for rows in _blocks(len(queries), len(gallery), entries):
        scores = queries[rows] @ gallery.T
        first = scores.topk(top).indices if top else None
        places = [_places(scores, right[rows]) for right in answers]
        if again is not None and first is not None:
            anew = again(torch.arange(len(queries))[rows], first)
            places = [
                torch.where(place <= top, _again(anew, first, right[rows]), place)
                for place, right in zip(places, answers, strict=True)
            ]
        found.append(torch.stack(places))
    return torch.cat(found, dim=1)


def leading(
    queries: Tensor, gallery: Tensor, k: int, again: Rerank | None = None, top: int = 0, entries: int = ENTRIES
) -> Tensor:
    """The rows of the gallery that come first for each query, ``[Q, k]``, best first.

    Arguments are those of :func:`ranks`.
    """
    top = min(top, len(gallery)) if again is not None else 0
    found = []
    for rows in _blocks(len(queries), len(gallery), entries):
        first = (queries[rows] @ gallery.T).topk(min(max(k, top), len(gallery))).indices
        if again is not None:
            scores = again(torch.arange(len(queries))[rows], first[:, :top])
            order = scores.argsort(dim=1, descending=True, stable=True)
            first = torch.cat([first[:, :top].gather(1, order), first[:, top:]], dim=1)
        found.append(first[:, :k])
    return torch.cat(found)


def _blocks(queries: int, gallery: int, entries: int) -> list[slice]:
    size = max(1, entries // max(1, gallery))
    return [slice(start, start + size) for start in range(0, queries, size)]


def _places(scores: Tensor, answers: Tensor) -> Tensor:
    """Ranks ``[b]`` by ``scores [b, N]``, which are left as they were."""
    own = scores.gather(1, answers)
    others = scores.scatter_(1, answers, -torch.inf)
    ahead = (~(others < own.amax(1, keepdim=True))).sum(1)
    scores.scatter_(1, answers, own)
    return (1 + ahead).clamp_max(scores.shape[1])


def _again(scores: Tensor, first: Tensor, answers: Tensor) -> Tensor:
    """Ranks ``[b]`` among the ``first [b, k]`` by their new ``scores [b, k]``."""
    right = (first[:, :, None] == answers[:, None, :]).any(2)
    best = scores.masked_fill(~right, -torch.inf).amax(1, keepdim=True)
    ahead = ~(scores < best) & ~right
    return 1 + ahead.sum(1)


def _padded(right: Right, queries: int, gallery: int) -> Tensor:
    """``[Q, P]``; where a query has fewer answers than others, its first is repeated."""
    if len(right) != queries:
        raise InvalidInput(f"{len(right)} rows of right answers for {queries} queries")
    most = max((len(rows) for rows in right), default=1)
    for query, rows in enumerate(right):
        if not rows:
            raise InvalidInput(f"query {query} has no right answer in the gallery; leave it out")
        if min(rows) < 0 or max(rows) >= gallery:
            raise InvalidInput(f"query {query} is answered by {rows}, of {gallery} in the gallery")
    return torch.tensor([[*rows, *[rows[0]] * (most - len(rows))] for rows in right], dtype=torch.long).view(
        queries, most
    )
