"""The family ``file``: models from exported programs with a JSON card beside each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secondlook.errors import InvalidInput
from secondlook.models.base import Model
from secondlook.models.cards import Program, read
from secondlook.models.exported import ExportedAutoencoder, ExportedClassifier, ExportedEmbedder
from secondlook.registry import register


@register("model", "file")
@dataclass(frozen=True, kw_only=True)
class File:
    """``file:PATH`` reads exported programs: a classifier, two encoders, or an autoencoder.

    ``PATH.pt2`` is a classifier, or either half of an autoencoder; a folder with ``image.pt2`` and
    ``text.pt2`` is an embedder; ``PATH`` before ``-encoder*.pt2`` and ``-decoder*.pt2`` is an
    autoencoder.

    Attributes:
        name: the path.
    """

    name: str

    @staticmethod
    def listed() -> dict[str, str]:
        """Nothing: only the user knows."""
        return {}

    def load(self) -> Model:
        """The model at the path.

        Raises:
            InvalidInput: a file is missing, damaged or without its card, or the card is wrong.
        """
        path, full = Path(self.name).expanduser(), f"file:{self.name}"
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
