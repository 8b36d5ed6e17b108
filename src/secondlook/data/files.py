"""What the layouts of image files share: a source over paths, and a table beside its pictures."""

from __future__ import annotations

import csv
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from secondlook.data import images
from secondlook.data.base import Samples, Source
from secondlook.data.decoding import reason, refuse_irregular
from secondlook.errors import InvalidInput
from secondlook.registry import digest


@dataclass(frozen=True, kw_only=True, eq=False)
class Files(Source):
    """Images that are a file each; a file is opened when its row is read.

    Attributes:
        ids: one name per image.
        classes: candidate texts.
        paths: the file of each image.
        truth: the index of each image's class.
        prompt: the template around a class name.
        keep: center crop, see ``secondlook.data.images.read``.
        indices: the published index of each class, where a benchmark has such.
        provenance: a caveat for every figure.
        unlabeled: whether nobody says what is on the images: each is a class of its own.
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    paths: tuple[Path, ...]
    truth: tuple[int, ...]
    prompt: str = "{}"
    keep: float = 1.0
    indices: tuple[int, ...] | None = None
    provenance: str = ""
    unlabeled: bool = False

    def labeled(self) -> Files:
        """The images with their classes.

        Raises:
            InvalidInput: they have none.
        """
        if self.unlabeled:
            raise InvalidInput(
                f"{self.paths[0].parent} holds images and no folders, so that nobody says what is on them; make two "
                'folders or more, one per class, or write [task] name = "unlabeled", which asks what an attack changes'
            )
        return self

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """The images ``rows``, cropped to ``keep`` and resized, with their truth."""
        pictures = [images.read(self.paths[row], size, self.keep) for row in rows]
        batch = images.stack(pictures, [str(self.paths[row]) for row in rows])
        return Samples(batch, torch.tensor([self.truth[row] for row in rows]))

    @property
    def files(self) -> tuple[Path, ...]:
        return self.paths

    @property
    def hash(self) -> str:
        """Names, classes, bytes, truth and crop; where the files lie is left out."""
        return digest([super().hash, self.truth, self.keep])


class Line(NamedTuple):
    """One row of a table, and where it stands for an error: ``captions.txt line 7``."""

    where: str
    values: dict[str, str]


def table(path: Path, columns: Collection[str]) -> list[Line]:
    """The rows of a CSV file with a header, stripped of blanks around each value.

    Raises:
        InvalidInput: the file cannot be read or holds no row, a column is missing, or a row does
            not fit.
    """
    header = ",".join(columns)
    refuse_irregular(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True, skipinitialspace=True)
            names = [name.strip() for name in reader.fieldnames or ()]
            for name in columns:
                if (found := names.count(name)) != 1:
                    many = f"{found} columns" if found else "no column"
                    raise InvalidInput(f"{path} has {many} {name!r}; begin it with {header}")
            reader.fieldnames = names
            lines = [_line(f"{path} line {reader.line_num}", row, columns) for row in reader]
    except csv.Error as error:
        raise InvalidInput(
            f"{path} line {reader.reader.line_num} cannot be read as a table ({error}); put a value with commas or "
            'quotes in quotes, and write "" for a quote inside it'
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{path} cannot be read as a table ({reason(error)}); it must be CSV with {header}"
        ) from error
    if not lines:
        raise InvalidInput(f"{path} has a header and no rows; add one per line")
    return lines


def _line(where: str, row: dict[str, str], columns: Collection[str]) -> Line:
    # Values beyond the last column stand under the key None: commas that were not quoted.
    if None in row:
        raise InvalidInput(f"{where} has too many values; put those with commas in quotes")
    values = {name: (row[name] or "").strip() for name in columns}
    empty = [name for name, value in values.items() if not value]
    if empty:
        raise InvalidInput(f"{where} has no {empty[0]}; fill it in or take the line away")
    return Line(where, values)


def lines(path: Path, wanted: str) -> list[Line]:
    """The lines of a text file that are not blank, each as the one value ``text``.

    Args:
        path: the file, UTF-8.
        wanted: what it should hold, for errors: ``an image a line``.

    Raises:
        InvalidInput: the file cannot be read, is no UTF-8, or holds no line.
    """
    refuse_irregular(path)
    try:
        rows = path.read_bytes().decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read ({reason(error)}); it must be UTF-8 text, {wanted}") from error
    found = [Line(f"{path} line {number}", {"text": row.strip()}) for number, row in enumerate(rows, 1) if row.strip()]
    if not found:
        raise InvalidInput(f"{path} is empty; write {wanted}")
    return found


def listed(path: Path, wanted: str) -> list[Line]:
    """The lines of a text file, each of which may stand there once.

    Raises:
        InvalidInput: as ``lines`` raises it, or a line comes again.
    """
    found = lines(path, wanted)
    seen: set[str] = set()
    for where, values in found:
        if values["text"] in seen:
            raise InvalidInput(f"{where} lists {values['text']} twice; list it once, {wanted}")
        seen.add(values["text"])
    return found


def pictures(folder: Path) -> dict[str, Path]:
    """The image files by name: those of ``images/`` (or ``Images/``), or those of the folder.

    Raises:
        InvalidInput: there are none.
    """
    inner = [path for path in images.entries(folder) if path.name in ("images", "Images")]
    return {path.name: path for path in images.find(inner[0] if inner else folder)}
