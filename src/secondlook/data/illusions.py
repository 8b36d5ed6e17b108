"""Adversarial images that somebody else made, beside the images they were made from."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secondlook.data import images
from secondlook.data.base import Family, Samples, Source, part_of
from secondlook.data.decoding import reason, refuse_irregular
from secondlook.data.files import lines
from secondlook.errors import InvalidInput
from secondlook.models.io.preprocessing import DEVIATION, MEAN
from secondlook.registry import digest, register

Array = NDArray[Any]

PROVENANCE: Final = "imported adversarial images: their attack is unknown, their threat unchecked"

_ROUNDING: Final = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class Bundle(Source):
    """Adversarial images made elsewhere, beside the images they were made from.

    Attributes:
        ids: ``STEM-ROW``.
        classes: names of all classes, the first of several synonyms.
        indices: the published index of each class.
        truth: the class of each image before it was attacked.
        targets: the class that the attacker wanted of it; may be its own.
        prompt: the template around a class name.
        changed: the adversarial images, ``[n, 3, H, W]``, on disk.
        clean: what they were made from, likewise.
        normalized: whether both are in CLIP's normalized pixels.
        files: where both lie.
    """

    rounded: ClassVar[bool] = False

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    indices: tuple[int, ...]
    truth: tuple[int, ...]
    targets: tuple[int, ...]
    prompt: str
    changed: Array
    clean: Array
    normalized: bool
    provenance: str = PROVENANCE
    files: tuple[Path, ...] = ()

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """The adversarial images ``rows``, with the classes they had before.

        Raises:
            InvalidInput: another size is asked for than theirs, which would undo the attack, or
                pixels are outside [0, 1].
        """
        return Samples(self._batch(self.changed, rows, size), torch.tensor([self.truth[r] for r in rows]))

    def originals(self, rows: Sequence[int], size: tuple[int, int] | None) -> Tensor:
        """The images that ``rows`` were made from, ``[B, 3, H, W]``; raises as ``read`` does."""
        return self._batch(self.clean, rows, size)

    def distance(self, rows: Sequence[int]) -> Tensor:
        """The largest change of a pixel, ``[B]``: the eps that was really spent, L∞."""
        return (self.read(rows, None).images - self.originals(rows, None)).abs().amax((1, 2, 3))

    @property
    def hash(self) -> str:
        """Names, classes, bytes and targets."""
        return digest([super().hash, self.truth, self.targets, self.normalized])

    def _batch(self, held: Array, rows: Sequence[int], size: tuple[int, int] | None) -> Tensor:
        own = tuple(held.shape[-2:])
        if size is not None and tuple(size) != own:
            raise InvalidInput(
                f"{self.ids[0]} and the others are {own[0]}x{own[1]}; at {size[0]}x{size[1]} the "
                "attack would be another one; take a model of their size"
            )
        pictures = [self._pixels(held[row], self.ids[row]) for row in rows]
        return images.stack(pictures, [self.ids[row] for row in rows])

    def _pixels(self, held: Array, name: str) -> Tensor:
        pixels = torch.from_numpy(np.array(held, dtype=np.float32))
        if self.normalized:
            pixels = pixels * torch.tensor(DEVIATION)[:, None, None]
            pixels = pixels + torch.tensor(MEAN)[:, None, None]
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            other = "unit" if self.normalized else "normalized"
            raise InvalidInput(
                f"{name}: its pixels lie in [{low:.3g}, {high:.3g}] and must lie in [0, 1]; is pixels={other!r} meant?"
            )
        return pixels.clamp(0, 1)


@register("data", "illusions")
@dataclass(frozen=True, kw_only=True)
class Illusions(Family):
    """Bundles of the adversarial illusions (arXiv 2308.11804): ``illusions:FOLDER#300``.

    The folder holds ``x_advs_300.npy`` (or ``x_advs.npy``, written without a number), ``x_inits``,
    ``y_ids`` (wanted classes), ``y_origs`` (true ones), and the names of all classes, by index:
    ``imagenet1000_clsidx_to_labels.txt`` or ``labels.txt``, a name a line. What they were made with
    is not in them: the source says so (``provenance``), and measures their eps (``distance``).

    Attributes:
        prompt: makes a text of a class name; the illusions' own.
        pixels: ``normalized`` as their code saves them, or ``unit`` for [0, 1].
    """

    prompt: str = "A photo of a {}."
    pixels: Literal["normalized", "unit"] = "normalized"

    def load(self) -> Bundle:
        """Maps the images and reads labels and names.

        Raises:
            InvalidInput: a file is missing, broken or pickled, the files disagree in number or
                size, or a label has no name.
        """
        folder, step = part_of(self.name)
        stem = f"x_advs_{step}" if step else "x_advs"
        changed = _array(folder / f"{stem}.npy", 4)
        clean = _array(folder / "x_inits.npy", 4)
        names = _names(folder)
        wanted, true = (_array(folder / f"{name}.npy", 1) for name in ("y_ids", "y_origs"))
        _check(folder, changed, clean, wanted, true, len(names))
        if self.pixels == "normalized" and not any((image < 0).any() for image in changed):
            raise InvalidInput(
                f"{folder}/{stem}.npy has no value below 0, and normalized pixels have; they are "
                "in [0, 1] already: pixels='unit'"
            )
        return Bundle(
            ids=tuple(f"{stem}-{row}" for row in range(len(changed))),
            classes=names,
            indices=tuple(range(len(names))),
            truth=tuple(int(label) for label in true),
            targets=tuple(int(label) for label in wanted),
            prompt=self.prompt,
            changed=changed,
            clean=clean,
            normalized=self.pixels == "normalized",
            files=(folder / f"{stem}.npy", folder / "x_inits.npy"),
        )


def _array(path: Path, dimensions: int) -> Array:
    refuse_irregular(path)
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be opened ({reason(error)}); add it") from error
    # NumPy's own words for a pickle advise to load it unsafely.
    except (ValueError, EOFError, OverflowError, MemoryError) as error:
        raise InvalidInput(f"{path} is broken or no plain array; make it anew by numpy.save") from error
    kinds = "f" if dimensions == 4 else "iu"
    if array.ndim != dimensions or array.dtype.kind not in kinds or not array.size:
        wanted = "numbers [n, 3, H, W]" if dimensions == 4 else "whole numbers [n]"
        raise InvalidInput(f"{path} is {array.dtype} {list(array.shape)}; it must be {wanted}")
    return array


def _names(folder: Path) -> tuple[str, ...]:
    """All classes by index, each by the first of its names."""
    published = folder / "imagenet1000_clsidx_to_labels.txt"
    if not published.is_file():
        found = lines(folder / "labels.txt", "the names of all classes in order, one a line")
        return tuple(line.values["text"].split(",")[0].strip() for line in found)
    try:
        table = ast.literal_eval(published.read_text("utf-8").strip())
        return tuple(str(table[index]).split(",")[0].strip() for index in range(len(table)))
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, RecursionError, MemoryError) as error:
        raise InvalidInput(
            f"{published} must be {{0: 'tench', 1: 'goldfish', ...}}, from 0 on; load it again"
        ) from error


def _check(folder: Path, changed: Array, clean: Array, wanted: Array, true: Array, classes: int) -> None:
    if changed.shape != clean.shape or changed.shape[1] != 3:
        raise InvalidInput(
            f"{folder}: the adversarial images are {list(changed.shape)}, x_inits "
            f"{list(clean.shape)}; both must be [n, 3, H, W]"
        )
    if not len(changed) == len(wanted) == len(true):
        raise InvalidInput(
            f"{folder}: {len(changed)} images, {len(wanted)} y_ids and {len(true)} y_origs; take the files of one run"
        )
    for name, labels in (("y_ids", wanted), ("y_origs", true)):
        wrong = labels[(labels < 0) | (labels >= classes)]
        if wrong.size:
            raise InvalidInput(
                f"{folder}/{name}.npy holds {int(wrong[0])}, and {classes} classes have names; they count from 0"
            )
