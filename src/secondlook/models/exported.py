"""Exported programs as models: an embedder of two encoders, a purifier of encoder and decoder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, resized
from secondlook.models.cards import Program
from secondlook.models.frame import Frame
from secondlook.models.latent import Latent, LatentPurifier, own_deviation
from secondlook.models.logits import LogitClassifier
from secondlook.models.words import WordTokenizer


def fingerprint(*programs: Program) -> str:
    """One hash for the files of a model, from those that their cards vouch for."""
    return hashlib.sha256("".join(p.card.sha256 for p in programs).encode()).hexdigest()[:16]


class ExportedClassifier(LogitClassifier):
    """A classifier from a file; it has no modes, hence no ``modules``."""

    def __init__(self, name: str, program: Program) -> None:
        self.program = program
        super().__init__(name, program.run, program.labels, size=program.size)

    @property
    def hash(self) -> str:
        """From the file's SHA-256."""
        return fingerprint(self.program)


class ExportedEmbedder(Embedder):
    """An embedder from two files, one for images and one for texts.

    Attributes:
        size: height and width that images are resized to.
        tokenizer: from the card of the text encoder.
    """

    def __init__(self, name: str, image: Program, text: Program) -> None:
        self.name, self.image, self.text = name, image, text
        self.size, self.tokenizer = image.size, tokenizer_of(text)

    @property
    def hash(self) -> str:
        """From the files' SHA-256."""
        return fingerprint(self.image, self.text)

    def encode_image(self, x: Tensor) -> Tensor:
        return self.image.run(resized(x, *self.size))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.text.run(self.tokenizer.encode(texts))


def tokenizer_of(text: Program) -> WordTokenizer:
    """The tokenizer that the card of a text encoder describes.

    Raises:
        InvalidInput: it describes none, or its vocabulary is not beside it.
    """
    rules = text.card.tokenizer
    if rules is None:
        raise InvalidInput(
            f"the card of {text.path} has no tokenizer; "
            'write {"type": "words", "pattern": ..., "length": ..., "vocabulary": "vocab.json"}'
        )
    # The card may name it from the folder above; it always lies beside the card.
    file = text.path.with_name(rules.vocabulary.rpartition("/")[2])
    if not file.is_file():
        raise InvalidInput(f"vocabulary {file} is missing; put it beside {text.path.name}")
    vocabulary = json.loads(file.read_text(encoding="utf-8"))
    settings = rules.model_dump(exclude={"type", "vocabulary"})
    return WordTokenizer(vocabulary=vocabulary, **settings)


class ExportedAutoencoder(LatentPurifier):
    """A purifier from two files; noise counts standard deviations of the image's own code."""

    def __init__(
        self, name: str, encoder: Program, decoder: Program, *, noise: float = 0.0
    ) -> None:
        self.encoder, self.decoder = encoder, decoder
        super().__init__(name, (), noise=noise, frame=Frame(size=encoder.size))

    @property
    def hash(self) -> str:
        """From the files' SHA-256."""
        return fingerprint(self.encoder, self.decoder)

    def encode(self, x: Tensor) -> Latent:
        return own_deviation(self.encoder.run(x))

    def decode(self, code: Tensor) -> Tensor:
        return self.decoder.run(code)
