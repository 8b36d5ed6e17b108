"""Tokenizers of transformers, with the padding that each family was trained with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from secondlook.registry import digest


@dataclass(frozen=True, kw_only=True)
class Padding:
    """How the texts of a batch are brought to one length.

    Attributes:
        to: ``longest`` of the batch, or ``full``: always ``length``.
        length: tokens at most; None takes what the text encoder has positions for.
        mask: whether the encoder is told what is padding. One that was trained without sees it.
        offset: whether positions are counted from behind the padding's number, as RoBERTa does.
    """

    to: Literal["longest", "full"] = "longest"
    length: int | None = None
    mask: bool = True
    offset: bool = False


class Tokens:
    """Texts to what a text encoder takes.

    Attributes:
        length: tokens at most; the rest of a text is cut off.
    """

    def __init__(self, tokenizer: Any, padding: Padding, text_config: Any) -> None:
        self.tokenizer, self.padding = tokenizer, padding
        room = text_config.max_position_embeddings
        if padding.offset:
            room -= text_config.pad_token_id + 1
        self.length = min(padding.length or room, room, tokenizer.model_max_length)

    @property
    def hash(self) -> str:
        """Tells this tokenizer and its padding from others."""
        backend = getattr(self.tokenizer, "backend_tokenizer", None)
        rules = {"vocabulary": self.tokenizer.get_vocab()}
        if backend is not None:
            rules = json.loads(backend.to_str())
            # What the last call set, and no part of the tokenizer.
            rules = {key: rules[key] for key in rules if key not in ("padding", "truncation")}
        kind = type(self.tokenizer).__qualname__
        return digest([kind, repr(self.padding), self.length, rules])

    def encode(self, texts: Sequence[str], device: torch.device) -> dict[str, Tensor]:
        """``input_ids`` ``[B, L]`` and, where the encoder takes one, ``attention_mask``."""
        made = self.tokenizer(
            list(texts), padding="max_length" if self.padding.to == "full" else True,
            truncation=True, max_length=self.length, return_tensors="pt",
        )  # fmt: skip
        wanted = ("input_ids", "attention_mask") if self.padding.mask else ("input_ids",)
        return {key: made[key].to(device) for key in wanted}
