"""The published files of CIFAR: binary records, or pickled arrays read without running code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeGuard

import numpy as np

from secondlook.data.base import part_of
from secondlook.data.decoding import reason, refuse_irregular
from secondlook.data.planar import Bytes, Planar, checked, mapped
from secondlook.errors import InvalidInput, UnknownName


class _Recorded:
    """What a pickle says of an array or of its type, written down; nothing of NumPy is called.

    Attributes:
        made: what it was to be made of.
        state: what it was then to be set to.
    """

    def __init__(self, *made: Any) -> None:
        self.made = made
        self.state: Any = ()

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Recorded):
    """``numpy.core.multiarray._reconstruct``, which makes an empty array, to be set afterwards."""


class _Type(_Recorded):
    """``numpy.dtype``."""


class _Bytes(_Recorded):
    """``_codecs.encode``, by which Python 3 writes bytes in the older protocols."""

    def __new__(cls, text: str, encoding: str) -> bytes:  # type: ignore[misc]
        """The bytes."""
        if encoding != "latin1":
            raise pickle.UnpicklingError(f"it asks for the codec {encoding!r}")
        return text.encode("latin1")


_ALLOWED: Final[dict[tuple[str, str], Any]] = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _Array,
    ("numpy._core.multiarray", "_reconstruct"): _Array,
    ("_codecs", "encode"): _Bytes,
}
"""All that the published files ask for, and what they are given in its stead."""


class _Reader(pickle.Unpickler):
    """Plain values and records of arrays, and nothing that could be called besides."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}") from None


def unpickled(path: Path) -> dict[str, Any]:
    """A pickled dictionary of plain values and records of arrays; Python 2's too. Keys become text.

    Raises:
        InvalidInput: the file cannot be read, is no such pickle, or asks for anything else: a
            pickle can run any program.
    """
    refuse_irregular(path)
    try:
        with path.open("rb") as file:
            content = _Reader(file, encoding="bytes").load()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be opened ({reason(error)})") from error
    # Broken bytes meet the unpickler with almost any error: KeyError, IndexError, MemoryError.
    except Exception as error:
        raise InvalidInput(
            f"{path} is no pickle of plain arrays ({reason(error)}); take the set's binary version"
        ) from error
    if not isinstance(content, dict):
        raise InvalidInput(f"{path} holds a {type(content).__name__}; it must be a dictionary")
    return {k.decode("latin1") if isinstance(k, bytes) else str(k): v for k, v in content.items()}


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
    place, split = part_of(name)
    split = split or "test"
    if split not in layout.files:
        raise UnknownName("split", split, layout.files)
    stems = layout.files[split]
    folder = _folder(place, layout, stems[0])
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
        files=tuple(files),
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
    pixels, labels = _planes(content.get("data")), content.get(layout.key)
    if pixels is None or not _numbers(labels, len(pixels)):
        raise InvalidInput(f"{path}: data must be uint8 [n, {PLANES}] and {layout.key} n numbers; load it again")
    return pixels.reshape(-1, 3, SIDE, SIDE), checked(labels, len(layout.classes), path)


def _planes(found: object) -> Bytes | None:
    """The planes ``[n, 3072]`` that a record describes; None where it describes anything else."""
    match found:
        case _Array(state=(1, (int(n), int(width)), _Type(made=made), bool(across), bytes(held))):
            plain = made[:1] in (("u1",), (b"u1",)) and not across
            fits = n > 0 and width == PLANES and len(held) == n * PLANES
            return np.frombuffer(held, np.uint8).reshape(n, PLANES) if plain and fits else None
    return None


def _numbers(labels: object, n: int) -> TypeGuard[list[int]]:
    return isinstance(labels, list) and len(labels) == n and all(isinstance(label, int) for label in labels)
