"""Masked language models of transformers: BERT, RoBERTa, DistilBERT and whatever fills gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.families.hf.bundle import Bundle
from secondlook.models.maskedlm import MaskedLM, Piece

# WordPiece marks what goes on with a word; byte-level BPE and SentencePiece mark what begins one.
_GOES_ON: Final = "##"
_BEGINS: Final = ("\u0120", "\u2581")


class HubMaskedLM(MaskedLM):
    """Any network that transformers loads as ``AutoModelForMaskedLM``.

    Attributes:
        network: the network of transformers.
        tokenizer: its tokenizer, one that knows which characters a token stands for.

    Raises:
        InvalidInput: the tokenizer knows no such thing, or has no gap.
    """

    def __init__(self, bundle: Bundle) -> None:
        self.name, self.network = bundle.name, bundle.network("AutoModelForMaskedLM")
        self.modules, self.tokenizer = (self.network,), bundle.tokenizer()
        if not self.tokenizer.is_fast or self.tokenizer.mask_token_id is None:
            raise InvalidInput(f"{self.name} needs a tokenizer.json with a mask token, to tell words from pieces")
        self.mask_id, self.pad_id = self.tokenizer.mask_token_id, self.tokenizer.pad_token_id
        self.special_ids = frozenset(self.tokenizer.all_special_ids)
        self.word_starts = self._word_starts()

    def split(self, text: str) -> Sequence[Piece]:
        made = self.tokenizer(text, truncation=True, max_length=self._limit, return_offsets_mapping=True)
        pairs = zip(made["input_ids"], made["offset_mapping"], strict=True)
        return [Piece(number, *characters) for number, characters in pairs]

    def detokenize(self, ids: Sequence[int]) -> str:
        text: str = self.tokenizer.decode(list(ids))
        return text.strip()

    def fill(self, ids: Tensor, mask: Tensor) -> Tensor:
        place = self.network.device
        answer = self.network(input_ids=ids.to(place), attention_mask=mask.to(place))
        scores: Tensor = answer.logits
        return scores

    @property
    def _limit(self) -> int:
        """Tokens at most; RoBERTa counts its positions from behind the padding's number."""
        config = self.network.config
        limit = getattr(config, "max_position_embeddings", None) or self.tokenizer.model_max_length
        if "roberta" in config.model_type:
            limit -= config.pad_token_id + 1
        return int(min(limit, self.tokenizer.model_max_length))

    def _word_starts(self) -> Tensor:
        vocabulary = self.tokenizer.get_vocab()
        whole = torch.zeros(self.network.config.vocab_size, dtype=torch.bool)
        marks = [mark for mark in _BEGINS if any(token.startswith(mark) for token in vocabulary)]
        for token, number in vocabulary.items():
            begins = token.startswith(tuple(marks)) if marks else not token.startswith(_GOES_ON)
            if begins and number not in self.special_ids and number < len(whole):
                whole[number] = True
        return whole
