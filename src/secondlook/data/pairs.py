"""Images and what a generator made of them: what a mirror detector compares (MirrorCheck)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import torch
from torch import Tensor

from secondlook.data import images
from secondlook.data.annotations import Place, parse
from secondlook.data.base import Family, Samples, Source
from secondlook.data.files import Line, table
from secondlook.errors import InvalidInput
from secondlook.registry import digest, register

UNLABELLED: Final = "unlabeled"


@dataclass(frozen=True, kw_only=True, eq=False)
class PairedFiles(Source):
    """Images with another image each.

    Attributes:
        ids: one name per input image.
        classes: the labels that occur, say ``clean`` and ``adversarial``.
        inputs: the file of each input image.
        outputs: the file of what was generated from it.
        truth: the label of each pair.
        keep: center crop, see ``secondlook.data.images.read``.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    inputs: tuple[Path, ...]
    outputs: tuple[Path, ...]
    truth: tuple[int, ...]
    keep: float = 1.0

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """The input images ``rows`` with their labels."""
        return Samples(self._batch(self.inputs, rows, size), torch.tensor([self.truth[row] for row in rows]))

    def generated(self, rows: Sequence[int], size: tuple[int, int] | None) -> Tensor:
        """What was generated from the images ``rows``, ``[B, 3, H, W]`` in [0, 1].

        Raises:
            InvalidInput: a file is no image.
        """
        return self._batch(self.outputs, rows, size)

    @property
    def files(self) -> tuple[Path, ...]:
        return (*self.inputs, *self.outputs)

    @property
    def hash(self) -> str:
        """Names, labels, names of the generated, bytes of both and crop."""
        outputs = [path.name for path in self.outputs]
        return digest([super().hash, self.truth, outputs, self.keep])

    def _batch(self, paths: Sequence[Path], rows: Sequence[int], size: tuple[int, int] | None) -> Tensor:
        pictures = [images.read(paths[row], size, self.keep) for row in rows]
        return images.stack(pictures, [str(paths[row]) for row in rows])


@register("data", "pairs")
@dataclass(frozen=True, kw_only=True)
class Pairs(Family):
    """Pairs of images: ``pairs:FILE.csv`` (``input,generated,label``), or ``pairs:FOLDER@FOLDER``.

    Paths in the table are relative to it, or to ``FILE.csv@FOLDER``. Two folders are paired by the
    names of their files without what follows the dot; both must have all of them.

    Attributes:
        keep: center crop, as a share of the short side.
    """

    keep: float = 1.0

    def load(self) -> PairedFiles:
        """Finds the pairs.

        Raises:
            InvalidInput: an image is missing on either side, or an input comes twice.
        """
        place = parse(self.name)
        pairs = list(_of_folders(place) if place.file.is_dir() else _of_table(place))
        classes = sorted({pair.label for pair in pairs})
        return PairedFiles(
            ids=tuple(pair.name for pair in pairs),
            classes=tuple(classes),
            inputs=tuple(pair.input for pair in pairs),
            outputs=tuple(pair.output for pair in pairs),
            truth=tuple(classes.index(pair.label) for pair in pairs),
            keep=self.keep,
        )


class _Pair(NamedTuple):
    name: str
    input: Path
    output: Path
    label: str


def _of_table(place: Place) -> Iterator[_Pair]:
    root = place.images or place.file.parent
    seen: set[str] = set()
    for line in table(place.file, ("input", "generated", "label")):
        name = line.values["input"]
        if name in seen:
            raise InvalidInput(f"{line.where} pairs {name} again; keep one of its lines")
        seen.add(name)
        output = _present(line, "generated", root)
        yield _Pair(name, _present(line, "input", root), output, line.values["label"])


def _present(line: Line, column: str, root: Path) -> Path:
    path = root / line.values[column]
    if not path.is_file():
        raise InvalidInput(f"{line.where}: {column} {path} is not there; add it or drop the line")
    return path


def _of_folders(place: Place) -> Iterator[_Pair]:
    if place.images is None:
        raise InvalidInput(f"{place.file} has no partner; write pairs:INPUTS@GENERATED")
    inputs, outputs = _stems(place.file), _stems(place.images)
    for name in sorted(inputs.keys() ^ outputs.keys()):
        lost = place.images if name in inputs else place.file
        raise InvalidInput(
            f"{lost} has no image {name!r} ({len(inputs)} inputs, {len(outputs)} generated); pairs need both"
        )
    for name, path in inputs.items():
        yield _Pair(name, path, outputs[name], UNLABELLED)


def _stems(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in images.find(folder):
        if path.stem in found:
            raise InvalidInput(f"{path} and {found[path.stem].name} have one name; keep one of them")
        found[path.stem] = path
    return found
