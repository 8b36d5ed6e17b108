"""Adversarial images that the code of the adversarial illusions left behind, to be judged anew."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from secondlook.data.bundle import Array, Bundle
from secondlook.data.decoding import reason
from secondlook.data.family import Family
from secondlook.data.files import lines
from secondlook.errors import InvalidInput
from secondlook.registry import register


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
        pixels: ``normalised`` as their code saves them, or ``unit`` for [0, 1].
    """

    prompt: str = "A photo of a {}."
    pixels: Literal["normalised", "unit"] = "normalised"

    def load(self) -> Bundle:
        """Maps the images and reads labels and names.

        Raises:
            InvalidInput: a file is missing, broken or pickled, the files disagree in number or
                size, or a label has no name.
        """
        place, _, step = self.name.partition("#")
        folder = Path(place).expanduser()
        stem = f"x_advs_{step}" if step else "x_advs"
        changed = _array(folder / f"{stem}.npy", 4)
        clean = _array(folder / "x_inits.npy", 4)
        names = _names(folder)
        wanted, true = (_array(folder / f"{name}.npy", 1) for name in ("y_ids", "y_origs"))
        _check(folder, changed, clean, wanted, true, len(names))
        if self.pixels == "normalised" and not any((image < 0).any() for image in changed):
            raise InvalidInput(
                f"{folder}/{stem}.npy has no value below 0, and normalised pixels have; they are "
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
            normalised=self.pixels == "normalised",
        )


def _array(path: Path, dimensions: int) -> Array:
    try:
        array: Array = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be opened ({reason(error)}); add it") from error
    # NumPy's own words for a pickle advise to load it unsafely.
    except (ValueError, EOFError) as error:
        raise InvalidInput(
            f"{path} is broken or no plain array; make it anew by numpy.save"
        ) from error
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
    except (OSError, SyntaxError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidInput(
            f"{published} must be {{0: 'tench', 1: 'goldfish', ...}}, from 0 on; load it again"
        ) from error


def _check(
    folder: Path, changed: Array, clean: Array, wanted: Array, true: Array, classes: int
) -> None:
    if changed.shape != clean.shape or changed.shape[1] != 3:
        raise InvalidInput(
            f"{folder}: the adversarial images are {list(changed.shape)}, x_inits "
            f"{list(clean.shape)}; both must be [n, 3, H, W]"
        )
    if not len(changed) == len(wanted) == len(true):
        raise InvalidInput(
            f"{folder}: {len(changed)} images, {len(wanted)} y_ids and {len(true)} y_origs; "
            "take the files of one run"
        )
    for name, labels in (("y_ids", wanted), ("y_origs", true)):
        wrong = labels[(labels < 0) | (labels >= classes)]
        if wrong.size:
            raise InvalidInput(
                f"{folder}/{name}.npy holds {int(wrong[0])}, and {classes} classes have names; "
                "they count from 0"
            )
