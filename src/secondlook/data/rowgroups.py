"""Images inside parquet files, read from the group of rows that holds them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from secondlook.data import decoding, images
from secondlook.data.base import Captioned, Samples, Source
from secondlook.data.captioned import Labels
from secondlook.data.decoding import extra, reason, refuse_irregular
from secondlook.errors import InvalidInput
from secondlook.registry import digest


class Cell(NamedTuple):
    """Where an image lies: file, group of rows, and row in the group."""

    path: Path
    group: int
    row: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Column:
    """The column of images of some parquet files.

    Attributes:
        name: the column.
        cells: where each image lies.
        keep: center crop, see ``secondlook.data.images.read``.
    """

    name: str
    cells: tuple[Cell, ...]
    keep: float

    @property
    def files(self) -> tuple[Path, ...]:
        """The parquet files, in order."""
        return tuple(dict.fromkeys(cell.path for cell in self.cells))

    def read(self, rows: Sequence[int], names: Sequence[str], size: decoding.Size | None) -> Tensor:
        """The images ``rows``, ``[B, 3, H, W]``; each group of rows is opened once.

        Raises:
            InvalidInput: an image is missing from its row or broken.
        """
        found: dict[Cell, Tensor] = {}
        for path, group in dict.fromkeys(self.cells[row][:2] for row in rows):
            column = opened(path).read_row_group(group, columns=[self.name]).column(0)
            for cell in {self.cells[row] for row in rows}:
                if cell[:2] == (path, group):
                    where = f"{path} row {cell.row} of group {group}"
                    found[cell] = self._image(column[cell.row].as_py(), where, size)
        return images.stack([found[self.cells[row]] for row in rows], names)

    def _image(self, value: Any, where: str, size: decoding.Size | None) -> Tensor:
        content = value.get("bytes") if isinstance(value, dict) else value
        if not isinstance(content, bytes):
            raise InvalidInput(
                f"{where}: {self.name!r} holds no bytes of an image; publish the set with its images embedded"
            )
        return decoding.decode(io.BytesIO(content), where, size, self.keep)


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledRows(Source):
    """Images of parquet files with classes.

    Attributes:
        ids: one name per image.
        classes: candidate texts.
        truth: the class of each image.
        prompt: the template around a class name.
        column: where the images are.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    truth: tuple[int, ...]
    prompt: str
    column: Column

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """The images ``rows`` with their classes."""
        batch = self.column.read(rows, [self.ids[row] for row in rows], size)
        return Samples(batch, torch.tensor([self.truth[row] for row in rows]))

    @property
    def files(self) -> tuple[Path, ...]:
        return self.column.files

    @property
    def hash(self) -> str:
        """Names, classes, bytes, truth and crop."""
        return digest([super().hash, self.truth, self.column.keep])


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionedRows(Captioned):
    """Images of parquet files with captions, and perhaps classes.

    Attributes:
        ids: one name per image.
        texts: all captions.
        owner: the row of each caption's image.
        column: where the images are.
        labels: the classes, where there are some.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    owner: tuple[int, ...]
    column: Column
    labels: Labels | None = None

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """The images ``rows``; the truth of each is its own row."""
        batch = self.column.read(rows, [self.ids[row] for row in rows], size)
        return Samples(batch, torch.tensor([range(len(self))[row] for row in rows]))

    def labeled(self) -> Source:
        """The images with a class; itself, where the set has no classes but its captions."""
        return self if self.labels is None else classified(self.ids, self.labels, self.column)

    @property
    def files(self) -> tuple[Path, ...]:
        return self.column.files

    @property
    def hash(self) -> str:
        """Names, captions, bytes and crop."""
        return digest([super().hash, self.column.keep])


def classified(ids: Sequence[str], labels: Labels, column: Column) -> LabelledRows:
    """The images that have a class."""
    rows = [(row, label) for row, label in enumerate(labels.truth) if label is not None]
    return LabelledRows(
        ids=tuple(ids[row] for row, _ in rows),
        classes=labels.classes,
        truth=tuple(label for _, label in rows),
        prompt=labels.prompt,
        column=Column(name=column.name, cells=tuple(column.cells[row] for row, _ in rows), keep=column.keep),
    )


def opened(path: Path) -> Any:
    """A parquet file; only its footer is read.

    Raises:
        InvalidInput: it is missing, broken or no parquet, or the extra ``data`` is not installed.
    """
    parquet = extra("pyarrow.parquet", "data", f"{path.name}, a parquet file,")
    refuse_irregular(path)
    try:
        return parquet.ParquetFile(path)
    # pyarrow's errors are of several kinds: ArrowInvalid is a ValueError, others are OSErrors.
    except (OSError, ValueError) as error:
        raise InvalidInput(f"{path} cannot be read as parquet ({reason(error)}); load it again") from error
