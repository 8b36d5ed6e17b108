"""HotFlip: one gradient of the word vectors instead of a read of every candidate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.attacks.pairs import AlteredPairs, Pairs, Touches
from secondlook.attacks.text.base import WordSubstitution
from secondlook.attacks.text.candidates import ParsedCaption, parse
from secondlook.attacks.text.captions import flat, owners
from secondlook.attacks.text.substitution import Progress, Trial
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat

Hook = Callable[[Tensor, Tensor], Tensor]


class _Stop(Exception):
    """The vectors of the words are known, and nothing else was asked for."""


class WordVectors:
    """The table of word vectors that an embedder's text side begins with.

    It is found by what happens: the largest table that is looked into while a text is read.

    Attributes:
        victim: the embedder.

    Raises:
        InvalidInput: the embedder reads texts without such a table, or without a gradient to it.
    """

    def __init__(self, victim: Embedder) -> None:
        self.victim = victim
        tables = [m for n in victim.modules for m in n.modules() if isinstance(m, nn.Embedding)]
        used: list[nn.Embedding] = []
        handles = [t.register_forward_hook(lambda m, _, __: used.append(m)) for t in tables]
        try:
            if tables:
                with torch.no_grad():
                    victim.encode_text(["a"])
        finally:
            for handle in handles:
                handle.remove()
        if not used:
            self._refuse("looks up no word vectors in a network of its own")
        self._table = max(used, key=lambda table: table.num_embeddings)

    def gradient(self, texts: Sequence[str], images: Tensor) -> tuple[Tensor, Tensor]:
        """How minus the cosine to ``images`` changes with each word's vector.

        Args:
            texts: ``T`` captions.
            images: the unit vectors ``[T, D]`` of their images.

        Returns:
            Word vectors ``[T, L, W]`` and the gradient to them, of the same shape.
        """
        held: list[Tensor] = []

        def hold(_: Tensor, vectors: Tensor) -> Tensor:
            held.append(vectors.detach().requires_grad_())
            return held[-1]

        with torch.enable_grad(), self._hooked(hold):
            vectors = nn.functional.normalize(self.victim.encode_text(list(texts)).float(), dim=-1)
        if len(held) != 1 or not vectors.requires_grad:
            self._refuse("passes no gradient to its word vectors")
        (found,) = torch.autograd.grad(-(vectors * images).sum(), held[0])
        return held[0].detach(), found

    @torch.no_grad()
    def look_up(self, texts: Sequence[str]) -> Tensor:
        """Word vectors ``[T, L, W]``; the network behind them is not run."""
        held: list[Tensor] = []

        def stop(_: Tensor, vectors: Tensor) -> NoReturn:
            held.append(vectors)
            raise _Stop

        with self._hooked(stop):
            try:
                self.victim.encode_text(list(texts))
            except _Stop:
                return held[0]
        self._refuse("looks up no word vectors")

    @contextmanager
    def _hooked(self, hook: Hook) -> Iterator[None]:
        handle = self._table.register_forward_hook(lambda _, given, out: hook(given[0], out))
        try:
            yield
        finally:
            handle.remove()

    def _refuse(self, why: str) -> NoReturn:
        raise InvalidInput(f"{self.victim.name} {why}; use the attack 'bert-attack' on it instead")


_BATCH = 64


@register("pair attack", "hotflip")
@dataclass(frozen=True, kw_only=True)
class HotFlip(WordSubstitution):
    """Replaces the word whose vector's gradient promises most (HotFlip, arXiv 1712.06751).

    The candidates are those of ``bert-attack``; each is judged by the gradient times the
    change of the word vectors, summed over the victims, and none is read. The best of all places
    goes in whether or not it helps: it is not read.
    """

    touches: ClassVar[Touches] = "captions"

    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        """One gradient for each caption and word."""
        self.refuse_victim(victims)
        tables = [WordVectors(victim) for victim in victims]
        owner = owners(pairs.captions)
        with torch.no_grad():
            images = [victim.embed(pairs.images) for victim in victims]
        own = [vectors[owner.to(vectors.device)] for vectors in images]
        captions = parse(flat(pairs.captions), self.proposals)
        found: list[str] = []
        for start in range(0, len(captions), _BATCH):
            rows = slice(start, start + _BATCH)
            found += self._changed(captions[rows], tables, [vectors[rows] for vectors in own])
        texts = iter(found)
        altered = tuple(tuple(next(texts) for _ in row) for row in pairs.captions)
        return AlteredPairs(pairs.images, altered)

    def _changed(
        self, captions: Sequence[ParsedCaption], tables: Sequence[WordVectors], own: Sequence[Tensor]
    ) -> list[str]:
        """The captions with as many words changed as may be."""
        progress = [Progress(caption, list(caption.places), 0.0) for caption in captions]
        for _ in range(self.words):
            trials = self._trials(progress)
            if not trials:
                break
            befores = [row.caption.put(row.changes) for row in progress]
            afters = [progress[row].tried(at, new) for row, at, new in trials]
            owner = torch.tensor([row for row, _, _ in trials])
            gains = estimated_gains(tables, befores, own, afters, owner).tolist()
            rising = sorted(zip(gains, trials, strict=True), key=lambda row: row[0])
            best = {row: (at, new) for _, (row, at, new) in rising}
            for row, (at, new) in best.items():
                progress[row].changes[at] = new
                progress[row].places.remove(at)
        return [row.caption.put(row.changes) for row in progress]

    def _trials(self, progress: Sequence[Progress]) -> list[Trial]:
        """Every candidate at every place that is still as it was."""
        trials = [(row, at, new) for row, caption in enumerate(progress) for at, new in caption.trials(at_once=True)]
        texts = [progress[row].tried(at, new) for row, at, new in trials]
        bad = self.forbidden([progress[row].caption.text for row, _, _ in trials], texts)
        return [trial for trial, out in zip(trials, bad, strict=True) if not out]


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
        vectors, gradient = table.gradient(befores, images)
        after = table.look_up(afters)
        length = max(vectors.shape[1], after.shape[1])
        place = owner.to(vectors.device)
        moved = _long(after, length) - _long(vectors, length)[place]
        total += (moved * _long(gradient, length)[place]).sum((1, 2)).cpu()
    return total


def _long(vectors: Tensor, length: int) -> Tensor:
    """``[T, L, W]`` with nothing at the places that are missing to ``length``."""
    return F.pad(vectors, (0, 0, 0, length - vectors.shape[1]))
