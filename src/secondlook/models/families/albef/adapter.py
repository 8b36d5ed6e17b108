"""The family ``albef``: published checkpoints of ALBEF and TCL, loaded unchanged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from secondlook.models.base import Embedder, Matcher, ModelFamily
from secondlook.models.families.albef.network import PUBLISHED, AlbefNetwork, Arguments
from secondlook.models.io import published
from secondlook.models.io.preprocessing import squeezed
from secondlook.models.io.published import refitted
from secondlook.models.text import wordpiece
from secondlook.models.text.wordpiece import Tokens, WordPieceTokenizer
from secondlook.registry import register

WORDS = 30
"""Words of a caption, and tokens of a row, that are read."""


def cleaned(text: str) -> str:
    """``text`` as the published loader cleans it.

    Example:
        >>> cleaned("A man's well-worn hat, (left).")
        'a mans well worn hat left'
    """
    text = re.sub(r"[,.'!?\"()*#:;~]", "", text.lower())
    text = re.sub(r"[-/]", " ", text).replace("<person>", "person")
    return " ".join(text.split()[:WORDS])


UNUSED: Final = MappingProxyType(
    {
        r"(visual_encoder|text_encoder|vision_proj|text_proj)_m\..*": "momentum copies, for training",
        r"(image|text|idx)_queue|queue_ptr": "negatives of the contrastive loss, for training",
        r"temp": "the temperature of the contrastive loss; cosines need none",
        r"text_encoder\.embeddings\.position_ids": "0, 1, 2, …",
        r"text_encoder\.cls\..*": "the masked language model of pre-training",
    }
)
"""Names that are dropped knowingly, and why; any other that the network lacks is an error."""
_UNUSED: Final = re.compile("|".join(UNUSED))
_POSITIONS: Final = "visual_encoder.pos_embed"


def adapted(weights: Mapping[str, Tensor], sizes: Arguments) -> dict[str, Tensor]:
    """The weights that the network takes, from a pre-trained or a fine-tuned checkpoint.

    Pre-training wraps the text encoder once more, as ``text_encoder.bert``, and has smaller images,
    whose positions are refitted.
    """
    named = {re.sub(r"^text_encoder\.bert\.", "text_encoder.", k): v for k, v in weights.items()}
    kept = {key: value for key, value in named.items() if not _UNUSED.fullmatch(key)}
    if _POSITIONS in kept:
        count = (sizes.image_res // sizes.vision.patch_size) ** 2
        kept[_POSITIONS] = refitted(kept[_POSITIONS], count)
    return kept


class AlbefEmbedder(Embedder, Matcher):
    """Contrastive vectors of images and texts, and a matcher that takes both together.

    Attributes:
        size: images of another one are resized to it, bicubic, whatever their sides.
    """

    def __init__(self, name: str, network: AlbefNetwork, side: int, tokenizer: WordPieceTokenizer) -> None:
        self.name, self.network, self.modules = name, network, (network,)
        self.tokenizer, self.preprocessing, self.size = tokenizer, squeezed(side), (side, side)

    def encode_image(self, x: Tensor) -> Tensor:
        """Unit vectors ``[B, D]`` of ``[B, 3, H, W]`` in [0, 1]."""
        return self.network.image_vectors(self._seen(x))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors ``[B, D]``; captions are cleaned as in training, and 30 tokens are read."""
        return self.network.text_vectors(self.network.text_states(self._tokens(texts)))

    def encode_pairs(self, x: Tensor, texts: Sequence[str], pairs: Tensor) -> Tensor:
        tokens = self._tokens(texts)
        images, captions = pairs.unbind(1)
        read = self.network.text_states(tokens)[captions]
        return self.network.match(self._seen(x)[images], read, tokens.mask[captions])

    def _seen(self, x: Tensor) -> Tensor:
        return self.network.image_states(self.preprocessing(x))

    def _tokens(self, texts: Sequence[str]) -> Tokens:
        device = self.network.itm_head.weight.device
        tokens = self.tokenizer.encode([cleaned(text) for text in texts])
        return Tokens(*(part.to(device) for part in tokens))


@register("model", "albef")
@dataclass(frozen=True, kw_only=True)
class Albef(ModelFamily):
    """``albef:PATH`` reads a published checkpoint of ALBEF or TCL: vectors, and a matcher.

    Beside it must lie the ``vocab.txt`` of ``bert-base-uncased``. A checkpoint of another size than
    the published ones is described by a JSON of the same name, in the published configuration's
    terms.

    Attributes:
        name: the path of the ``.pth`` or ``.safetensors`` file.
        vocabulary: where the vocabulary is, if not beside it.
    """

    vocabulary: Path | None = None

    def load(self) -> AlbefEmbedder:
        """The model at the path, in fp32.

        Raises:
            InvalidInput: a file is missing, damaged, or not what the network takes.
        """
        path = self.path
        weights, sizes = published.read(path), published.arguments(path, PUBLISHED)
        file = published.beside(path, wordpiece.VOCABULARY, self.vocabulary, "the texts' vocabulary")
        with torch.device("meta"):
            network = AlbefNetwork(sizes)
        network = published.pour(network, adapted(weights, sizes), path)
        words = WordPieceTokenizer.read(file, WORDS)
        return AlbefEmbedder(f"albef:{self.name}", network, sizes.image_res, words)
