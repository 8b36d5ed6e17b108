"""Small images as the published archives hold them: raw bytes, one color plane after another."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from secondlook.data import decoding, images
from secondlook.data.base import Samples, Source
from secondlook.errors import InvalidInput
from secondlook.registry import digest

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True, eq=False)
class Planar(Source):
    """Images in arrays of color planes; those that are mapped from disk stay there until read.

    Attributes:
        ids: one name per image.
        classes: candidate texts.
        truth: the class of each image.
        prompt: the template around a class name.
        parts: the images in order, one array ``[n, 3, H, W]`` of uint8 for each file.
        files: the files.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    truth: tuple[int, ...]
    prompt: str
    parts: tuple[Bytes, ...]
    files: tuple[Path, ...] = ()

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """The images ``rows`` with their classes."""
        rows = [range(len(self))[row] for row in rows]
        batch = images.stack([self._image(row, size) for row in rows], [self.ids[r] for r in rows])
        return Samples(batch, torch.tensor([self.truth[row] for row in rows]))

    @property
    def hash(self) -> str:
        """Names, classes, bytes and truth."""
        return digest([super().hash, self.truth])

    def _image(self, row: int, size: tuple[int, int] | None) -> Tensor:
        ends = list(accumulate(len(part) for part in self.parts))
        part = bisect_right(ends, row)
        planes = self.parts[part][row - (ends[part - 1] if part else 0)]
        return decoding.fit(Image.fromarray(np.ascontiguousarray(planes.transpose(1, 2, 0))), size)


def mapped(path: Path, record: int) -> Bytes:
    """A file of records of equal length, left on disk, ``[n, record]``.

    Raises:
        InvalidInput: the file cannot be read, is empty, or ends within a record.
    """
    try:
        length = path.stat().st_size
        if length == 0 or length % record:
            raise InvalidInput(
                f"{path} has {length} bytes, no whole number of images with {record} each; load it again"
            )
        return np.memmap(path, dtype=np.uint8, mode="r").reshape(-1, record)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be opened ({decoding.reason(error)}); name the unpacked folder") from error


def checked(labels: Any, classes: int, path: Path) -> tuple[int, ...]:
    """Labels that count from 0, as plain numbers.

    Raises:
        InvalidInput: one is no class.
    """
    wrong = [row for row, label in enumerate(labels) if not 0 <= int(label) < classes]
    if wrong:
        raise InvalidInput(
            f"{path}: image {wrong[0]} has label {int(labels[wrong[0]])}, and there are {classes} "
            "classes; load it again"
        )
    return tuple(int(label) for label in labels)
