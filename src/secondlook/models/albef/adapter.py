"""The family ``albef``: published checkpoints of ALBEF and TCL, loaded unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from secondlook.models import published, wordpiece
from secondlook.models.albef.arguments import PUBLISHED
from secondlook.models.albef.captions import WORDS, cleaned
from secondlook.models.albef.checkpoint import adapted
from secondlook.models.albef.network import AlbefNetwork
from secondlook.models.base import Embedder
from secondlook.models.matcher import Matcher
from secondlook.models.photographs import squeezed
from secondlook.models.wordpiece import Tokens, WordPieceTokenizer
from secondlook.registry import register


class AlbefEmbedder(Embedder, Matcher):
    """Contrastive vectors of images and texts, and a matcher that looks at both together.

    Attributes:
        size: images of another one are resized to it, bicubic, whatever their sides.
    """

    def __init__(
        self, name: str, network: AlbefNetwork, side: int, tokenizer: WordPieceTokenizer
    ) -> None:
        self.name, self.network, self.modules = name, network, (network,)
        self.tokenizer, self.shown, self.size = tokenizer, squeezed(side), (side, side)

    def encode_image(self, x: Tensor) -> Tensor:
        """Unit vectors ``[B, D]`` of ``[B, 3, H, W]`` in [0, 1]."""
        return self.network.image_vectors(self._seen(x))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors ``[B, D]``; captions are cleaned as in training, and 30 tokens are read."""
        return self.network.text_vectors(self.network.read(self._tokens(texts)))

    def encode_pairs(self, x: Tensor, texts: Sequence[str], pairs: Tensor) -> Tensor:
        tokens = self._tokens(texts)
        images, captions = pairs.unbind(1)
        read = self.network.read(tokens)[captions]
        return self.network.match(self._seen(x)[images], read, tokens.mask[captions])

    def _seen(self, x: Tensor) -> Tensor:
        return self.network.see(self.shown(x))

    def _tokens(self, texts: Sequence[str]) -> Tokens:
        device = self.network.itm_head.weight.device
        tokens = self.tokenizer.encode([cleaned(text) for text in texts])
        return Tokens(*(part.to(device) for part in tokens))


@register("model", "albef")
@dataclass(frozen=True, kw_only=True)
class Albef:
    """``albef:PATH`` reads a published checkpoint of ALBEF or TCL: vectors, and a matcher.

    Beside it must lie the ``vocab.txt`` of ``bert-base-uncased``. A checkpoint of another size than
    the published ones is described by a JSON of the same name, in the published configuration's
    terms.

    Attributes:
        name: the path of the ``.pth`` or ``.safetensors`` file.
        vocabulary: where the vocabulary is, if not beside it.
    """

    name: str
    vocabulary: Path | None = None

    @staticmethod
    def listed() -> dict[str, str]:
        """Nothing: only the user knows."""
        return {}

    def load(self) -> AlbefEmbedder:
        """The model at the path, in fp32.

        Raises:
            InvalidInput: a file is missing, damaged, or not what the network takes.
        """
        path = Path(self.name).expanduser()
        weights, sizes = published.read(path), published.arguments(path, PUBLISHED)
        file = published.beside(
            path, wordpiece.VOCABULARY, self.vocabulary, "the texts' vocabulary"
        )
        with torch.device("meta"):
            network = AlbefNetwork(sizes)
        network = published.pour(network, adapted(weights, sizes), path)
        words = WordPieceTokenizer.read(file, WORDS)
        return AlbefEmbedder(f"albef:{self.name}", network, sizes.image_res, words)
