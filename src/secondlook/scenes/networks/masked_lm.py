"""A small transformer that fills gaps in the world's sentences (after BERT, arXiv 1810.04805)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from secondlook.scenes.networks.layers import Block
from secondlook.scenes.tokenizer import PAD, Tokenizer


class MaskedLmNetwork(nn.Module):
    """Token ids ``[B, L]`` (0 pads) to scores ``[B, L, V]``; words score by their own vectors.

    The last of the ``V`` tokens is the gap, which the tokenizer does not know.
    """

    def __init__(
        self, *, vocabulary: int, width: int = 80, depth: int = 2, heads: int = 4, context: int = 48
    ) -> None:
        super().__init__()
        self.tokenizer = Tokenizer()
        self.words = nn.Embedding(vocabulary, width, padding_idx=PAD)
        self.position = nn.Parameter(0.02 * torch.randn(1, context, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(vocabulary))

    @property
    def gap(self) -> int:
        """The token that stands for a word to be filled in."""
        return len(self.bias) - 1

    @property
    def context(self) -> int:
        """Tokens in a row at most."""
        return int(self.position.shape[1])

    def forward(self, ids: Tensor) -> Tensor:
        """Scores of what could stand at each place."""
        return self.score(self.read(ids))

    def read(self, ids: Tensor) -> Tensor:
        """What is known of each place, ``[B, L, width]``."""
        mask = ids != PAD
        x = self.words(ids) + self.position[:, : ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.norm(x)
        return out

    def score(self, known: Tensor) -> Tensor:
        """Scores ``[..., V]`` of what could stand at places of which so much is known."""
        return known @ self.words.weight.T + self.bias


class CaptionMlmNetwork(MaskedLmNetwork):
    """The same for captions of one's own, with a vocabulary of their words.

    ``words`` stand in the card, so that weights and words stay together.
    """

    def __init__(
        self, *, words: Sequence[str], width: int = 128, depth: int = 2, heads: int = 4,
        context: int = 48,
    ) -> None:  # fmt: skip
        tokenizer = Tokenizer(words=tuple(words))
        super().__init__(
            vocabulary=tokenizer.size + 1, width=width, depth=depth, heads=heads, context=context
        )
        self.tokenizer = tokenizer
        # Words score by their own vectors: long ones would make the first guesses wild.
        with torch.no_grad():
            self.words.weight.mul_(0.05)
