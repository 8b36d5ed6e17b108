"""Two towers of transformers as an embedder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.models.hf.bundle import Bundle
from secondlook.models.hf.processors import preprocessing
from secondlook.models.hf.tokens import Padding, Tokens


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
    def device(self) -> torch.device:
        """Where the network is."""
        device: torch.device = self.network.device
        return device

    def encode_image(self, x: Tensor) -> Tensor:
        return pooled(self.network.get_image_features(pixel_values=self.preprocessing(x)))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        tokens = self.tokenizer.encode(texts, self.device)
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
