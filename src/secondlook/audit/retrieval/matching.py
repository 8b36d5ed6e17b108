"""Ranking anew with a matcher: each image is shown once, with all the texts it is up against."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import torch
from torch import Tensor

from secondlook.attacks.pairs import Captions
from secondlook.audit.retrieval.matrix import SearchCell, SearchPlan
from secondlook.audit.retrieval.search import Matching, flat, sides_of
from secondlook.audit.retrieval.sets import AlteredSet
from secondlook.audit.store import Run
from secondlook.models.base import evaluating
from secondlook.models.matcher import Matcher

_IMAGES: Final = 8
_PAIRS: Final = 512
Read = Callable[[Sequence[int]], Tensor]


def matching(
    plan: SearchPlan, run: Run, cell: SearchCell, captions: Mapping[str, Captions]
) -> Matching | None:
    """The second look of a row's model at what its cosines put first; None where none is wanted.

    Args:
        plan: what is searched.
        run: where adversarial images lie.
        cell: the row.
        captions: the altered ones, by forge.
    """
    model, top = cell.seen.embedder, plan.task.task.rerank
    if not top or not isinstance(model, Matcher):
        return None
    size, forge = cell.seen.size, cell.forge

    def clean(rows: Sequence[int]) -> Tensor:
        return plan.task.batch(rows, size).pairs.images

    stored = AlteredSet(run.adversarial(forge.id, 0).parent) if forge else None

    def altered(rows: Sequence[int]) -> Tensor:
        if stored is None:
            return clean(rows)
        return stored.images([plan.task.ids[row] for row in rows]).to(plan.task.device)

    images: tuple[Read, Read] = (clean, altered)
    changed = captions[forge.id] if forge else plan.task.captions
    texts = (plan.task.captions, changed)
    asks, answers = sides_of(cell.setting)
    return Matching(
        texts=_Again(model, images[asks], flat(texts[answers]), by_image=True),
        images=_Again(model, images[answers], flat(texts[asks]), by_image=False),
        top=top,
    )


class _Again:
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
