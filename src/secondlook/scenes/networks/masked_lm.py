"""A small transformer that fills gaps in the world's sentences (after BERT, arXiv 1810.04805)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from secondlook.scenes.networks.layers import Block
from secondlook.scenes.tokenizer import PAD


class MaskedLmNetwork(nn.Module):
    """Token ids ``[B, L]`` (0 pads) to scores ``[B, L, V]``; words score by their own vectors.

    The last of the ``V`` tokens is the gap, which the tokenizer does not know.
    """

    def __init__(
        self, *, vocabulary: int, width: int = 80, depth: int = 2, heads: int = 4, context: int = 48
    ) -> None:
        super().__init__()
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
        mask = ids != PAD
        x = self.words(ids) + self.position[:, : ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        out: Tensor = self.norm(x) @ self.words.weight.T + self.bias
        return out
