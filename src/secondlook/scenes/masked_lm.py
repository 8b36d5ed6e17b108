"""Masked language models of whole words behind the words that every such model has."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from secondlook.models.maskedlm import MaskedLM, Piece
from secondlook.scenes.networks.masked_lm import MaskedLmNetwork
from secondlook.scenes.tokenizer import BOS, EOS, PAD, UNK

_WORD: Final = re.compile(r"[^\W_]+")


class SceneMaskedLM(MaskedLM):
    """Fills gaps in captions, of scenes or one's own; each word is one token, punctuation none."""

    gap: int
    padding = PAD

    def __init__(self, name: str, network: MaskedLmNetwork) -> None:
        self.name, self.network, self.modules = name, network, (network,)
        self.tokenizer, self.gap = network.tokenizer, network.gap
        self.special = frozenset({PAD, BOS, EOS, UNK, network.gap})
        self.whole = torch.ones(network.gap + 1, dtype=torch.bool)
        self.whole[list(self.special)] = False

    def split(self, text: str) -> Sequence[Piece]:
        found = list(_WORD.finditer(text))[: self.network.context - 2]
        words = [match.group().lower() for match in found]
        numbers = self.tokenizer.encode([" ".join(words)], len(words) + 2)[0].tolist()
        edges = [(0, 0), *(match.span() for match in found), (len(text), len(text))]
        return [Piece(number, *edge) for number, edge in zip(numbers, edges, strict=True)]

    def spell(self, ids: Sequence[int]) -> str:
        return " ".join(self.tokenizer.decode([[number]])[0] for number in ids)

    def fill(self, ids: Tensor, mask: Tensor) -> Tensor:
        seen = torch.where(mask.bool(), ids, PAD)
        scores: Tensor = self.network(seen.to(self.network.bias.device))
        return scores
