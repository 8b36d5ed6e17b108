"""How a caption comes about, one token at a time: alone, or as the best of several side by side."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from secondlook.models.decoding import Decoding
from secondlook.randomness import Keys

Scores = Callable[[Tensor], Tensor]
"""The tokens so far, ``[N, t]``, to scores of the next, ``[N, V]``; ``N`` is ``B * width``."""


def written(scores: Scores, keys: Keys, decoding: Decoding, end: int, place: Tensor) -> Tensor:
    """Tokens ``[B, L]`` of a text for each sample; what follows an ``end`` is of no meaning.

    Args:
        scores: of the next token; the ``decoding.width`` texts of a sample lie side by side.
        keys: one for each sample.
        decoding: the rule.
        end: the token that ends a text.
        place: a tensor on the device where the tokens are wanted.
    """
    if decoding.style == "beam":
        return _by_beams(scores, len(keys), decoding, end, place)
    ids = torch.empty(len(keys), 0, dtype=torch.long, device=place.device)
    for step in range(decoding.length):
        token = decoding.choose(scores(ids), keys, step)
        ids = torch.cat([ids, token[:, None]], dim=1)
        if bool((ids == end).any(1).all()):
            break
    return ids


class _Beams(NamedTuple):
    """Texts kept side by side: tokens ``[B, k, t]``, log-probabilities and lengths ``[B, k]``."""

    ids: Tensor
    total: Tensor
    length: Tensor
    ended: Tensor

    def grown(self, chances: Tensor, end: int) -> _Beams:
        """The ``k`` likeliest of all texts that are one token longer; an ended one stays."""
        batch, width, words = chances.shape
        stay = torch.full_like(chances, -torch.inf)
        stay[..., end] = 0
        total = self.total[..., None] + torch.where(self.ended[..., None], stay, chances)
        length = (self.length + ~self.ended)[..., None].expand_as(total)
        place = (total / length).flatten(1).topk(width).indices
        beam, token = place // words, place % words
        before = self.ids.gather(1, beam[..., None].expand(-1, -1, self.ids.shape[2]))
        return _Beams(
            torch.cat([before, token[..., None]], dim=2),
            total.flatten(1).gather(1, place),
            length.flatten(1).gather(1, place),
            self.ended.gather(1, beam) | (token == end),
        )


def _by_beams(scores: Scores, batch: int, decoding: Decoding, end: int, place: Tensor) -> Tensor:
    """The likeliest text among those kept, by the mean log-probability of its tokens."""
    beams = _start(batch, decoding.beams, place)
    for _ in range(decoding.length):
        chances = scores(beams.ids.flatten(0, 1)).float().log_softmax(-1)
        beams = beams.grown(chances.unflatten(0, (batch, decoding.beams)), end)
        if bool(beams.ended.all()):
            break
    best = (beams.total / beams.length).argmax(1)
    return beams.ids[torch.arange(batch, device=place.device), best]


def _start(batch: int, width: int, place: Tensor) -> _Beams:
    """Empty texts, all the same: only the first of them may grow at the first step."""
    total = torch.full((batch, width), -torch.inf, device=place.device)
    total[:, 0] = 0
    length = torch.zeros(batch, width, dtype=torch.long, device=place.device)
    ids = torch.empty(batch, width, 0, dtype=torch.long, device=place.device)
    return _Beams(ids, total, length, torch.zeros_like(length, dtype=torch.bool))
