"""HotFlip: one gradient of the word vectors instead of a read of every candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.attacks.pairs import AlteredPairs, Pairs, Touches
from secondlook.attacks.text.base import CaptionSearch, WordSubstitution
from secondlook.attacks.text.candidates import ParsedCaption
from secondlook.attacks.text.substitution import AwayFromImage, Progress, WordChange
from secondlook.attacks.text.vocabulary import WordVectors
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat

_BATCH = 64


@register("pair attack", "hotflip")
@dataclass(frozen=True, kw_only=True)
class HotFlip(WordSubstitution):
    """Replaces the word whose vector's gradient promises most (HotFlip, arXiv 1712.06751).

    The candidates are those of ``bert-attack``; each is judged by the gradient times the change of
    the word vectors, summed over the victims, and none is read. The best of all places goes in
    whether or not it helps: it is not read. Where ``text`` is ``free``, all words are candidates,
    and the gradient is that of the caption with each word unknown in turn.
    """

    touches: ClassVar[Touches] = "captions"

    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        """One gradient for each caption and word."""
        side = self.texts(victims, pairs)
        with torch.no_grad():
            images = [victim.embed(pairs.images) for victim in victims]
        own = [vectors[side.owner.to(vectors.device)] for vectors in images]
        texts = iter(self._of_all(victims, side, own) if self.text == "free" else self._of_options(victims, side, own))
        altered = tuple(tuple(next(texts) for _ in row) for row in pairs.captions)
        return AlteredPairs(pairs.images, altered, notices=side.notices)

    def _of_all(self, victims: Sequence[Embedder], side: CaptionSearch, own: Sequence[Tensor]) -> list[str]:
        """The captions with words of the whole vocabulary."""
        words, objective = self.vocabulary(victims), AwayFromImage(own)
        progress = [Progress(caption, list(caption.words_with_letters), 0.0) for caption in side.parsed]
        for _ in range(self.words):
            open_ = [row for row, caption in enumerate(progress) if caption.places]
            trials = self._allowed(progress, words.propose(progress, open_, objective, self.shortlist))
            _put_in(progress, {row: (at, new) for row, at, new in reversed(trials)})
        return [caption.standing for caption in progress]

    def _of_options(self, victims: Sequence[Embedder], side: CaptionSearch, own: Sequence[Tensor]) -> list[str]:
        """The captions with words of those that each may take."""
        tables = [WordVectors(victim) for victim in victims]
        found: list[str] = []
        for start in range(0, len(side.parsed), _BATCH):
            rows = slice(start, start + _BATCH)
            found += self._changed(side.parsed[rows], tables, [vectors[rows] for vectors in own])
        return found

    def _changed(
        self, captions: Sequence[ParsedCaption], tables: Sequence[WordVectors], own: Sequence[Tensor]
    ) -> list[str]:
        """The captions with as many words changed as may be."""
        progress = [Progress(caption, list(caption.places), 0.0) for caption in captions]
        for _ in range(self.words):
            trials = self._trials(progress)
            if not trials:
                break
            befores = [row.standing for row in progress]
            afters = [progress[row].tried(at, new) for row, at, new in trials]
            owner = torch.tensor([row for row, _, _ in trials])
            gains = estimated_gains(tables, befores, own, afters, owner).tolist()
            rising = sorted(zip(gains, trials, strict=True), key=lambda row: row[0])
            _put_in(progress, {row: (at, new) for _, (row, at, new) in rising})
        return [row.standing for row in progress]

    def _trials(self, progress: Sequence[Progress]) -> list[WordChange]:
        """Every candidate at every place that is still as it was."""
        rows = enumerate(progress)
        return self._allowed(
            progress, [(row, *trial) for row, caption in rows for trial in caption.trials(at_once=True)]
        )

    def _allowed(self, progress: Sequence[Progress], trials: Sequence[WordChange]) -> list[WordChange]:
        texts = [progress[row].tried(at, new) for row, at, new in trials]
        bad = self.forbidden([progress[row].caption.text for row, _, _ in trials], texts)
        return [trial for trial, out in zip(trials, bad, strict=True) if not out]


def _put_in(progress: Sequence[Progress], best: Mapping[int, tuple[int, str]]) -> None:
    """Puts a word into each caption, and strikes its place."""
    for row, (at, new) in best.items():
        progress[row].changes[at] = new
        progress[row].places.remove(at)


def estimated_gains(
    tables: Sequence[WordVectors], befores: Sequence[str], own: Sequence[Tensor], afters: Sequence[str], owner: Tensor
) -> Tensor:
    """What the gradient makes expect of each text in ``afters``, ``[N]``, summed over the victims.

    Args:
        tables: the victims' word vectors.
        befores: ``T`` captions.
        own: of each victim the unit vectors ``[T, D]`` of the captions' images.
        afters: ``N`` texts that stand for some of them.
        owner: ``[N]``, for which.
    """
    total = torch.zeros(len(afters))
    for table, images in zip(tables, own, strict=True):
        slope = table.gradient(befores, lambda unit, images=images: -(unit * images).sum(1))  # type: ignore[misc]
        after = table.look_up(afters).vectors
        length = max(slope.vectors.shape[1], after.shape[1])
        place = owner.to(after.device)
        moved = _long(after, length) - _long(slope.vectors, length)[place]
        total += (moved * _long(slope.gradient, length)[place]).sum((1, 2)).cpu()
    return total


def _long(vectors: Tensor, length: int) -> Tensor:
    """``[T, L, W]`` with nothing at the places that are missing to ``length``."""
    return F.pad(vectors, (0, 0, 0, length - vectors.shape[1]))
