"""A language model that knows one other word for dark and one for bright."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from secondlook.models.maskedlm import MaskedLM, Piece
from tests.hardening.toy import WORDS

MARKS = ("[PAD]", "[UNK]", "[MASK]", "[CLS]", "[SEP]")
LIKELY = {"dark": "dim", "bright": "pale"}


class Thesaurus(MaskedLM):
    """Finds dim likely in place of dark, and pale in place of bright; nothing else."""

    name, mask_id, pad_id = "school:gaps", 2, 0
    special_ids = frozenset(range(len(MARKS)))
    word_starts = torch.tensor([False] * len(MARKS) + [True] * len(WORDS))

    def split(self, text: str) -> Sequence[Piece]:
        row, at = [Piece(3, 0, 0)], 0
        for word in text.split():
            at = text.index(word, at)
            number = WORDS.index(word) + len(MARKS) if word in WORDS else 1
            row.append(Piece(number, at, at + len(word)))
            at += len(word)
        return [*row, Piece(4, at, at)]

    def detokenize(self, ids: Sequence[int]) -> str:
        return " ".join((*MARKS, *WORDS)[number] for number in ids)

    def fill(self, ids: Tensor, mask: Tensor) -> Tensor:
        scores = torch.zeros(*ids.shape, len(MARKS) + len(WORDS))
        for row, numbers in enumerate(ids.tolist()):
            for at, number in enumerate(numbers):
                likely = LIKELY.get(self.detokenize([number]))
                if likely:
                    scores[row, at, len(MARKS) + WORDS.index(likely)] = 9.0
        return scores
