"""Two encoders of transformers as an embedder, with the padding that each kind was trained with."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, Matcher
from secondlook.models.families.hf.bundle import Bundle
from secondlook.models.families.hf.processors import preprocessing
from secondlook.registry import digest


@dataclass(frozen=True, kw_only=True)
class Padding:
    """How the texts of a batch are brought to one length.

    Attributes:
        to: ``longest`` of the batch, or ``full``: always ``length``.
        length: tokens at most; None takes what the text encoder has positions for.
        mask: whether the encoder gets the mask of padding. One trained without attends to it.
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
        lower: whether capital letters are made small.

    Raises:
        InvalidInput: the tokenizer has no pad token.
    """

    def __init__(self, tokenizer: Any, padding: Padding, text_config: Any) -> None:
        if tokenizer.pad_token_id is None:
            raise InvalidInput(
                f"the tokenizer in {tokenizer.name_or_path} has no pad token, and texts of several lengths need one; "
                'write "pad_token" into its tokenizer_config.json'
            )
        self.tokenizer, self.padding = tokenizer, padding
        # Gemma's tokenizer keeps capital letters, and SigLIP 2 was trained on small ones (arXiv 2502.14786).
        self.lower = "gemma" in type(tokenizer).__name__.lower()
        limit = text_config.max_position_embeddings
        if padding.offset:
            limit -= text_config.pad_token_id + 1
        self.length = min(padding.length or limit, limit, tokenizer.model_max_length)

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
        return digest([kind, repr(self.padding), self.length, rules, *(["lower"] if self.lower else [])])

    def encode(self, texts: Sequence[str], device: torch.device) -> dict[str, Tensor]:
        """``input_ids`` ``[B, L]`` and, where the encoder takes one, ``attention_mask``."""
        made = self.tokenizer(
            [text.lower() if self.lower else text for text in texts],
            padding="max_length" if self.padding.to == "full" else True,
            truncation=True,
            max_length=self.length,
            return_tensors="pt",
        )
        wanted = ("input_ids", "attention_mask") if self.padding.mask else ("input_ids",)
        return {key: made[key].to(device) for key in wanted}


class HubEmbedder(Embedder):
    """CLIP and its kin: whatever has ``get_image_features`` and ``get_text_features``.

    Attributes:
        network: the network of transformers.
        processor: the image processor of the checkpoint, to compare with.
        preprocessing: from pixels to what its image tower takes.
        tokenizer: from texts to what its text tower takes.
        size: height and width that the images are attacked at; None where any will do.
    """

    def __init__(self, bundle: Bundle, kind: str, padding: Padding) -> None:
        self.name, self.network = bundle.name, bundle.network(kind)
        self.modules = (self.network,)
        self.tokenizer = Tokens(bundle.tokenizer(), padding, self.network.config.text_config)
        self.size = self.prepare(bundle)

    def prepare(self, bundle: Bundle) -> tuple[int, int] | None:
        """Reads the preprocessing; returns the size that images are attacked at."""
        self.processor = bundle.image_processor()
        self.preprocessing = preprocessing(self.processor, self.name, bundle.resolution)
        return self.preprocessing.size if bundle.resolution == "input" else None

    @property
    def _device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = self.network.device
        return device

    def encode_image(self, x: Tensor) -> Tensor:
        return pooled(self.network.get_image_features(pixel_values=self.preprocessing(x)))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        tokens = self.tokenizer.encode(texts, self._device)
        return pooled(self.network.get_text_features(**tokens))


def pooled(features: Any) -> Tensor:
    """The vectors ``[B, D]`` in what a ``get_..._features`` returned.

    Up to release 4 of transformers they are returned bare, from 5 on as ``pooler_output``.

    Raises:
        InvalidInput: it is neither.
    """
    vectors = getattr(features, "pooler_output", features)
    if not isinstance(vectors, Tensor) or vectors.dim() != 2:
        raise InvalidInput(
            f"transformers returned features as {type(features).__name__}, which is not known "
            "here; install another release of it"
        )
    return vectors


class BlipEmbedder(HubEmbedder, Matcher):
    """BLIP for retrieval (arXiv 2201.12086): ITC vectors to search, ITM to rank again.

    As in transformers, the fused text begins with the token that it begins with alone.
    """

    def encode_image(self, x: Tensor) -> Tensor:
        projected: Tensor = self.network.vision_proj(self._seen(x)[:, 0])
        return projected

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        tokens = self.tokenizer.encode(texts, self._device)
        first: Tensor = self.network.text_encoder(**tokens).last_hidden_state[:, 0]
        projected: Tensor = self.network.text_proj(first)
        return projected

    def encode_pairs(self, x: Tensor, texts: Sequence[str], pairs: Tensor) -> Tensor:
        images, rows = pairs.unbind(1)
        tokens = self.tokenizer.encode(texts, self._device)
        seen = self._seen(x)[images]
        fused = self.network.text_encoder(
            **{key: value[rows.to(value.device)] for key, value in tokens.items()},
            encoder_hidden_states=seen,
            encoder_attention_mask=seen.new_ones(seen.shape[:2]),
        ).last_hidden_state
        logits: Tensor = self.network.itm_head(fused[:, 0])
        return logits

    def _seen(self, x: Tensor) -> Tensor:
        """The tokens of the image tower, ``[B, L, D]``."""
        tokens: Tensor = self.network.vision_model(self.preprocessing(x)).last_hidden_state
        return tokens


class ChineseEmbedder(HubEmbedder):
    """Chinese-CLIP (arXiv 2211.01335).

    Release 4 of transformers asks its text tower for a pooled vector that it has no layer for, so
    the first token is projected here, as the paper and release 5 do it.
    """

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        tokens = self.tokenizer.encode(texts, self._device)
        first = self.network.text_model(**tokens).last_hidden_state[:, 0]
        projected: Tensor = self.network.text_projection(first)
        return projected
