"""The cheap baseline of word substitution: one gradient instead of a read of every candidate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.attacks.pairs import AlteredPairs, Pairs, Touches
from secondlook.attacks.words.base import WordSearch
from secondlook.attacks.words.drafts import Draft, drafts
from secondlook.attacks.words.gradient import WordVectors
from secondlook.attacks.words.reader import flat, owners
from secondlook.attacks.words.substitution import Trial
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat

_BATCH = 64


@register("pair attack", "gradient")
@dataclass(frozen=True, kw_only=True)
class GradientWords(WordSearch):
    """Replaces the word whose vector's gradient promises most (HotFlip, arXiv 1712.06751).

    The candidates are those of the attack ``words``; each is judged by the gradient times the
    change of the word vectors, summed over the victims, and none is read. The best of all places
    goes in whether or not it helps: nobody looks.
    """

    touches: ClassVar[Touches] = "captions"

    def search(
        self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys
    ) -> AlteredPairs:
        """One gradient for each caption and word."""
        self.refuse_victim(victims)
        tables = [WordVectors(victim) for victim in victims]
        owner = owners(pairs.captions)
        with torch.no_grad():
            shown = [victim.embed(pairs.images) for victim in victims]
        own = [vectors[owner.to(vectors.device)] for vectors in shown]
        held = drafts(flat(pairs.captions), self.lexicon)
        found: list[str] = []
        for start in range(0, len(held), _BATCH):
            part = slice(start, start + _BATCH)
            found += self._changed(held[part], tables, [vectors[part] for vectors in own])
        texts = iter(found)
        rows = tuple(tuple(next(texts) for _ in row) for row in pairs.captions)
        return AlteredPairs(pairs.images, rows)

    def _changed(
        self, held: Sequence[Draft], tables: Sequence[WordVectors], own: Sequence[Tensor]
    ) -> list[str]:
        """The captions with as many words changed as may be."""
        changes: list[dict[int, str]] = [{} for _ in held]
        for _ in range(self.words):
            trials = self._trials(held, changes)
            if not trials:
                break
            befores = [draft.put(done) for draft, done in zip(held, changes, strict=True)]
            afters = [held[row].put({**changes[row], at: new}) for row, at, new in trials]
            owner = torch.tensor([row for row, _, _ in trials])
            judged = promises(tables, befores, own, afters, owner).tolist()
            best = {row: (at, new) for _, (row, at, new) in _rising(judged, trials)}
            for row, (at, new) in best.items():
                changes[row][at] = new
        return [draft.put(done) for draft, done in zip(held, changes, strict=True)]

    def _trials(self, held: Sequence[Draft], changes: Sequence[dict[int, str]]) -> list[Trial]:
        """Every candidate at every place that is still as it was."""
        trials = [
            (row, at, new) for row, draft in enumerate(held) for at in draft.places
            for new in draft.options[at] if at not in changes[row]
        ]  # fmt: skip
        texts = [held[row].put({**changes[row], at: new}) for row, at, new in trials]
        barred = self.barred([held[row].text for row, _, _ in trials], texts)
        return [trial for trial, far in zip(trials, barred, strict=True) if not far]


def _rising(judged: Sequence[float], trials: Sequence[Trial]) -> list[tuple[float, Trial]]:
    """Trials with what they promise, the most promising last."""
    return sorted(zip(judged, trials, strict=True), key=lambda row: row[0])


def promises(
    tables: Sequence[WordVectors], befores: Sequence[str], own: Sequence[Tensor],
    afters: Sequence[str], owner: Tensor,
) -> Tensor:  # fmt: skip
    """What the gradient promises of each text in ``afters``, ``[N]``, summed over the victims.

    Args:
        tables: the victims' word vectors.
        befores: ``T`` captions.
        own: of each victim the unit vectors ``[T, D]`` of the captions' images.
        afters: ``N`` texts that stand for some of them.
        owner: ``[N]``, for which.
    """
    total = torch.zeros(len(afters))
    for table, images in zip(tables, own, strict=True):
        vectors, gradient = table.gradient(befores, images)
        after = table.look(afters)
        length = max(vectors.shape[1], after.shape[1])
        place = owner.to(vectors.device)
        moved = _long(after, length) - _long(vectors, length)[place]
        total += (moved * _long(gradient, length)[place]).sum((1, 2)).cpu()
    return total


def _long(vectors: Tensor, length: int) -> Tensor:
    """``[T, L, W]`` with nothing at the places that are missing to ``length``."""
    return F.pad(vectors, (0, 0, 0, length - vectors.shape[1]))
