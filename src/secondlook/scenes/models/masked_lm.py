"""A small masked language model of whole words (after BERT, arXiv 1810.04805)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from secondlook.models.maskedlm import MaskedLM, Piece
from secondlook.scenes.models.layers import Block
from secondlook.scenes.tokenizer import BOS, EOS, PAD, UNK, Tokenizer


class MaskedLmNetwork(nn.Module):
    """Token ids ``[B, L]`` (0 pads) to scores ``[B, L, V]``; words score by their own vectors.

    The last of the ``V`` tokens is the mask, which the tokenizer has not.
    """

    def __init__(self, *, vocabulary: int, width: int = 80, depth: int = 2, heads: int = 4, context: int = 48) -> None:
        super().__init__()
        self.tokenizer = Tokenizer()
        self.words = nn.Embedding(vocabulary, width, padding_idx=PAD)
        self.position = nn.Parameter(0.02 * torch.randn(1, context, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    @property
    def mask_id(self) -> int:
        """The token that stands for a word to be filled in."""
        return len(self.bias) - 1

    @property
    def context(self) -> int:
        """Tokens in a row at most."""
        return int(self.position.shape[1])

    def forward(self, ids: Tensor) -> Tensor:
        """Scores of the words at each position."""
        return self.score(self.encode(ids))

    def encode(self, ids: Tensor) -> Tensor:
        """Contextual vectors of each position, ``[B, L, width]``."""
        mask = ids != PAD
        x = self.words(ids) + self.position[:, : ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.norm(x)
        return out

    def score(self, known: Tensor) -> Tensor:
        """Scores ``[..., V]`` of the words at positions with these vectors."""
        return known @ self.words.weight.T + self.bias


class CaptionMlmNetwork(MaskedLmNetwork):
    """The same for captions of one's own, with a vocabulary of their words.

    ``words`` are stored in the card.
    """

    def __init__(
        self, *, words: Sequence[str], width: int = 128, depth: int = 2, heads: int = 4, context: int = 48
    ) -> None:
        tokenizer = Tokenizer(words=tuple(words))
        super().__init__(vocabulary=tokenizer.size + 1, width=width, depth=depth, heads=heads, context=context)
        self.tokenizer = tokenizer
        # Words score by their own vectors: long ones would make the first guesses wild.
        with torch.no_grad():
            self.words.weight.mul_(0.05)


_WORD: Final = re.compile(r"[^\W_]+")


class SceneMaskedLM(MaskedLM):
    """Fills gaps in captions, of scenes or one's own; each word is one token, punctuation none."""

    mask_id: int
    pad_id = PAD

    def __init__(self, name: str, network: MaskedLmNetwork) -> None:
        self.name, self.network, self.modules = name, network, (network,)
        self.tokenizer, self.mask_id = network.tokenizer, network.mask_id
        self.special_ids = frozenset({PAD, BOS, EOS, UNK, network.mask_id})
        self.word_starts = torch.ones(network.mask_id + 1, dtype=torch.bool)
        self.word_starts[list(self.special_ids)] = False

    def split(self, text: str) -> Sequence[Piece]:
        found = list(_WORD.finditer(text))[: self.network.context - 2]
        words = [match.group().lower() for match in found]
        numbers = self.tokenizer.encode([" ".join(words)], len(words) + 2)[0].tolist()
        edges = [(0, 0), *(match.span() for match in found), (len(text), len(text))]
        return [Piece(number, *edge) for number, edge in zip(numbers, edges, strict=True)]

    def detokenize(self, ids: Sequence[int]) -> str:
        return " ".join(self.tokenizer.decode([[number]])[0] for number in ids)

    def fill(self, ids: Tensor, mask: Tensor) -> Tensor:
        given = torch.where(mask.bool(), ids, PAD)
        scores: Tensor = self.network(given.to(self.network.bias.device))
        return scores
