"""Vectors of many captions by several embedders, each caption read once."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor

from secondlook.attacks.pairs import Captions
from secondlook.models.base import Embedder

_BATCH = 256


def flat(captions: Captions) -> tuple[str, ...]:
    """All captions in a row."""
    return tuple(chain.from_iterable(captions))


def owners(captions: Captions) -> Tensor:
    """For each caption of that row the row of its image, ``[C]``."""
    counts = torch.tensor([len(texts) for texts in captions], dtype=torch.int64)
    return torch.arange(len(captions)).repeat_interleave(counts)


class Reader:
    """Reads captions with every embedder that is attacked.

    Attributes:
        victims: the embedders.
    """

    def __init__(self, victims: Sequence[Embedder]) -> None:
        self.victims = tuple(victims)

    def read(self, texts: Sequence[str], raw: bool) -> tuple[Tensor, ...]:
        """Vectors ``[T, D]`` of each embedder in fp32: unit vectors, or raw ones of its encoder."""
        # Captions of a like length side by side waste the least on padding.
        alike = sorted(dict.fromkeys(texts), key=len)
        place = {text: row for row, text in enumerate(alike)}
        order = torch.tensor([place[text] for text in texts])
        return tuple(
            vectors[order.to(vectors.device)]
            for vectors in (self._vectors(victim, alike, raw) for victim in self.victims)
        )

    @torch.no_grad()
    def _vectors(self, victim: Embedder, texts: Sequence[str], raw: bool) -> Tensor:
        if not raw:
            return victim.embed_text(texts, _BATCH)
        parts = [texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH)]
        return torch.cat([victim.encode_text(part).float() for part in parts])
