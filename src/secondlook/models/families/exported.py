"""The family ``file``: models from exported programs with a JSON card beside each."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder, Model, ModelFamily, resized
from secondlook.models.io.cards import Program, read
from secondlook.models.logits import LogitClassifier
from secondlook.models.purifiers.base import Frame, Latent, LatentPurifier, own_deviation
from secondlook.registry import register


@register("model", "file")
@dataclass(frozen=True, kw_only=True)
class File(ModelFamily):
    """``file:PATH?trust=true`` runs exported programs: a classifier, two encoders, an autoencoder.

    Loading such a program runs code that its file holds, whatever its card says: load what you have
    exported yourself, or have from somebody whom you trust. ``PATH.pt2`` is a classifier, or either
    half of an autoencoder; a folder with ``image.pt2`` and ``text.pt2`` is an embedder; ``PATH``
    before ``-encoder*.pt2`` and ``-decoder*.pt2`` is an autoencoder.

    Attributes:
        name: the path.
        trust: whether whoever wrote the files may run code here.
    """

    trust: bool = False

    def load(self) -> Model:
        """The model at the path.

        Raises:
            InvalidInput: a file is missing, damaged or without its card, the card is wrong, or it is
                not said that the files are trusted.
        """
        path, full = self.path, f"file:{self.name}"
        if not self.trust:
            raise InvalidInput(
                f"{full} is an exported program, and to load one is to run whatever code its file holds; the "
                "SHA-256 in its card is from the same sender and vouches for nothing. If you made it, or trust "
                f"who did, write {full}?trust=true; else ask for weights as .safetensors, and take hf:, "
                "openclip:, or python: with a network of your own"
            )
        if path.is_dir():
            return _embedder(full, path)
        if path.suffix != ".pt2":
            return _autoencoder(full, _encoder_after(path))
        program = read(path)
        kind = program.card.kind
        if kind == "classifier":
            return ExportedClassifier(full, program)
        if kind == "embedder":
            return _embedder(full, path.parent)
        half = "encoder" if kind == "autoencoder-encoder" else "decoder"
        return _autoencoder(full, _other_half(path, half, "encoder"))


def _embedder(full: str, folder: Path) -> ExportedEmbedder:
    image, text = read(folder / "image.pt2"), read(folder / "text.pt2")
    _expect(image, "embedder")
    _expect(text, "embedder")
    return ExportedEmbedder(full, image, text)


def _autoencoder(full: str, path: Path) -> ExportedAutoencoder:
    encoder, decoder = read(path), read(_other_half(path, "encoder", "decoder"))
    _expect(encoder, "autoencoder-encoder")
    _expect(decoder, "autoencoder-decoder")
    return ExportedAutoencoder(full, encoder, decoder)


def _expect(program: Program, kind: str) -> None:
    if program.card.kind != kind:
        raise InvalidInput(f"the card of {program.path} says kind={program.card.kind}, not {kind}")


def _other_half(path: Path, half: str, wanted: str) -> Path:
    if half not in path.name:
        raise InvalidInput(f"{path} has no {half!r} in its name, so its {wanted} cannot be found")
    return path.with_name(wanted.join(path.name.rsplit(half, 1)))


def _encoder_after(prefix: Path) -> Path:
    found = sorted(prefix.parent.glob(f"{prefix.name}-encoder*.pt2"))
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(file.name for file in found)
        raise InvalidInput(f"{prefix} is the beginning of several: {names}; write one in full")
    raise InvalidInput(
        f"no folder {prefix}, nor a file {prefix}-encoder*.pt2; "
        "write the path of a .pt2 file, of a folder, or the beginning of an autoencoder's two files"
    )


def fingerprint(*programs: Program) -> str:
    """One hash for the files of a model, from those that their cards vouch for."""
    return hashlib.sha256("".join(p.card.sha256 for p in programs).encode()).hexdigest()[:16]


class ExportedClassifier(LogitClassifier):
    """A classifier from a file; it has no modes, hence no ``modules``."""

    def __init__(self, name: str, program: Program) -> None:
        self.program = program
        super().__init__(name, program.run, program.labels, size=program.size)

    @property
    def weights_hash(self) -> str:
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
    def weights_hash(self) -> str:
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
    file = text.path.parent / rules.vocabulary.rpartition("/")[2]
    if not file.is_file():
        raise InvalidInput(f"vocabulary {file} is missing; put it beside {text.path.name}")
    try:
        vocabulary = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"vocabulary {file} is no JSON ({error}); write the number of each word") from None
    settings = rules.model_dump(exclude={"type", "vocabulary"})
    return WordTokenizer(vocabulary=vocabulary, **settings)


class ExportedAutoencoder(LatentPurifier):
    """A purifier from two files; noise counts standard deviations of the image's own code."""

    def __init__(self, name: str, encoder: Program, decoder: Program, *, noise: float = 0.0) -> None:
        self.encoder, self.decoder = encoder, decoder
        super().__init__(name, (), noise=noise, frame=Frame(size=encoder.size))

    @property
    def weights_hash(self) -> str:
        """From the files' SHA-256."""
        return fingerprint(self.encoder, self.decoder)

    def encode(self, x: Tensor) -> Latent:
        return own_deviation(self.encoder.run(x))

    def decode(self, code: Tensor) -> Tensor:
        return self.decoder.run(code)


@dataclass(frozen=True, kw_only=True)
class WordTokenizer:
    """Splits a text by ``pattern`` and numbers its words.

    Attributes:
        vocabulary: the number of each word.
        pattern: a regular expression that matches one word.
        lowercase: whether case is dropped first.
        length: tokens in a row, ``L``; later words are dropped.
        pad: what fills a row up.
        unknown: the number of a word that the vocabulary has not.
    """

    vocabulary: Mapping[str, int]
    pattern: str
    lowercase: bool
    length: int
    pad: int
    unknown: int

    def encode(self, texts: Sequence[str]) -> Tensor:
        """Texts to token ids ``[B, L]``.

        Raises:
            InvalidInput: a text has no word that ``pattern`` matches.
        """
        rows = torch.full((len(texts), self.length), self.pad, dtype=torch.int64)
        for row, text in zip(rows, texts, strict=True):
            words = re.findall(self.pattern, text.lower() if self.lowercase else text)
            if not words:
                raise InvalidInput(f"text {text!r} has no word (no match of {self.pattern!r})")
            ids = [self.vocabulary.get(word, self.unknown) for word in words[: self.length]]
            row[: len(ids)] = torch.tensor(ids)
        return rows
