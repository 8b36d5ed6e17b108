"""The folders that CIFAR-10 and CIFAR-100 are published as: binary, or pickled for Python."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, TypeGuard

import numpy as np

from secondlook.data.decoding import reason
from secondlook.data.pickles import unpickled
from secondlook.data.planar import Bytes, Planar, checked, mapped
from secondlook.errors import InvalidInput, UnknownName

SIDE = 32
PLANES = 3 * SIDE * SIDE


class Layout(NamedTuple):
    """How one of the sets is laid out.

    Attributes:
        folders: what its archives unpack to.
        files: the files of each split, as their binary version is called without ``.bin``.
        labels: bytes before the planes of each binary image; the last of them is the class.
        key: the class in the pickled version.
        classes: the names, in the order of the labels.
    """

    folders: tuple[str, ...]
    files: dict[str, tuple[str, ...]]
    labels: int
    key: str
    classes: tuple[str, ...]


def opened(name: str, layout: Layout, prompt: str) -> Planar:
    """The images of ``FOLDER#SPLIT``; without a split those for testing.

    Raises:
        UnknownName: no such split.
        InvalidInput: a file is missing or not in the layout.
    """
    place, _, split = name.partition("#")
    split = split or "test"
    if split not in layout.files:
        raise UnknownName("split", split, layout.files)
    stems = layout.files[split]
    folder = _folder(Path(place).expanduser(), layout, stems[0])
    binary = (folder / f"{stems[0]}.bin").is_file()
    read = _binary if binary else _pickled
    files = [folder / (f"{stem}.bin" if binary else stem) for stem in stems]
    found = [read(path, layout) for path in files]
    truth = tuple(label for _, labels in found for label in labels)
    return Planar(
        ids=tuple(f"{split}-{row}" for row in range(len(truth))),
        classes=layout.classes,
        truth=truth,
        prompt=prompt,
        parts=tuple(pixels for pixels, _ in found),
    )


def _folder(place: Path, layout: Layout, first: str) -> Path:
    """The folder with the files: the one that is named, or what an archive unpacked to in it."""
    try:
        for folder in (place, *(place / inner for inner in layout.folders)):
            if (folder / f"{first}.bin").is_file() or (folder / first).is_file():
                return folder
    except OSError as error:
        raise InvalidInput(f"{place} cannot be read as a folder ({reason(error)})") from error
    raise InvalidInput(
        f"{place} holds neither {first}.bin nor {first}; name the unpacked folder, say "
        f"{layout.folders[0]}, or an .npz file"
    )


def _binary(path: Path, layout: Layout) -> tuple[Bytes, tuple[int, ...]]:
    records = mapped(path, layout.labels + PLANES)
    labels = checked(records[:, layout.labels - 1], len(layout.classes), path)
    return records[:, layout.labels :].reshape(-1, 3, SIDE, SIDE), labels


def _pickled(path: Path, layout: Layout) -> tuple[Bytes, tuple[int, ...]]:
    content = unpickled(path)
    pixels, labels = content.get("data"), content.get(layout.key)
    if not _planes(pixels) or not _numbers(labels, len(pixels)):
        raise InvalidInput(
            f"{path}: data must be uint8 [n, {PLANES}] and {layout.key} n numbers; load it again"
        )
    return pixels.reshape(-1, 3, SIDE, SIDE), checked(labels, len(layout.classes), path)


def _planes(pixels: object) -> TypeGuard[Bytes]:
    return (
        isinstance(pixels, np.ndarray)
        and pixels.dtype == np.uint8
        and pixels.ndim == 2
        and pixels.shape[1] == PLANES
        and len(pixels) > 0
    )


def _numbers(labels: object, n: int) -> TypeGuard[list[int]]:
    return (
        isinstance(labels, list)
        and len(labels) == n
        and all(isinstance(label, int) for label in labels)
    )
