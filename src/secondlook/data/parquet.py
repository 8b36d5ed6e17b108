"""Datasets of the Hugging Face ecosystem, as the parquet files they are published in."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from secondlook.bounds import Part
from secondlook.data.base import Family, Source, part_of
from secondlook.data.captioned import Labels
from secondlook.data.decoding import reason
from secondlook.data.rowgroups import CaptionedRows, Cell, Column, classified, opened
from secondlook.errors import InvalidInput, UnknownName
from secondlook.registry import register

_NAME = re.compile(r"(?P<split>.+?)(-(?P<part>\d{5})-of-(?P<parts>\d{5})(-[0-9a-f]+)?)?\.parquet")


def shards(place: Path, split: str) -> list[Path]:
    """The files of a split, ``SPLIT-00000-of-00002.parquet`` and so on, or ``SPLIT.parquet``.

    Args:
        place: one file, or a folder with files in it or in ``data/`` there.
        split: which; may be empty where there is only one.

    Raises:
        InvalidInput: there are no such files, several splits to choose from, or a part is missing.
    """
    if place.is_file():
        return [place]
    found = _by_split(place)
    if not found:
        raise InvalidInput(f"no .parquet files in {place} or {place}/data; name a folder with some")
    names = ", ".join(sorted(found))
    if split and split not in found:
        raise InvalidInput(f"{place} has no split {split!r}; it has {names}")
    if not split and len(found) > 1:
        raise InvalidInput(f"{place} has the splits {names}; add one of them: #{min(found)}")
    files = found[split or min(found)]
    _check_whole(files)
    return files


def _by_split(place: Path) -> dict[str, list[Path]]:
    try:
        folder = place / "data" if (place / "data").is_dir() else place
        files = sorted(path for path in folder.iterdir() if path.suffix == ".parquet")
    except OSError as error:
        raise InvalidInput(f"{place} cannot be read as a folder ({reason(error)}); name one that is there") from error
    found: dict[str, list[Path]] = {}
    for path in files:
        match = _NAME.fullmatch(path.name)
        found.setdefault(match["split"] if match else path.stem, []).append(path)
    return found


def _check_whole(files: list[Path]) -> None:
    """A part that was not loaded would leave its images out without a word."""
    parts = [match for path in files if (match := _NAME.fullmatch(path.name)) and match["part"]]
    if not parts:
        return
    have, whole = sorted(int(match["part"]) for match in parts), int(parts[0]["parts"])
    if have != list(range(whole)) or len(parts) != len(files):
        raise InvalidInput(
            f"{files[0].parent}: {len(files)} of {whole} parts of {parts[0]['split']!r} are there; load the others"
        )


IMAGES: Final = ("image", "img", "jpg", "png")
LABELS: Final = ("label", "labels", "fine_label", "class")
CAPTIONS: Final = ("captions", "caption", "sentences", "text", "raw")
"""What a column is called, by what it holds; the first that is there is taken."""


@register("data", "hf")
@dataclass(frozen=True, kw_only=True)
class Parquet(Family):
    """Parquet files of the Hugging Face ecosystem: ``hf:FOLDER#test``, or ``hf:FILE.parquet``.

    A column of images (files embedded as bytes), and one of labels or of captions, or both. The
    folder, or ``data/`` in it, holds ``test-00000-of-00001.parquet`` and the like. Nothing is asked
    of the hub: load the set first. Needs the extra ``data``.

    Attributes:
        image: the column of images; empty takes the first of ``image``, ``img``, ``jpg``, ``png``.
        label: the column of classes, likewise.
        caption: the column of captions, of one text or a list of texts, likewise.
        prompt: makes a text of a class name.
        keep: center crop, as a share of the short side.
    """

    image: str = ""
    label: str = ""
    caption: str = ""
    prompt: str = "a photo of a {}"
    keep: Part = 1.0

    def load(self) -> Source:
        """Reads labels and captions; images are read by the group of rows that holds them.

        Raises:
            InvalidInput: a file is missing or broken, or labels or captions are not in the layout.
            UnknownName: there is no such column.
        """
        place, split = part_of(self.name)
        paths = shards(place, split)
        columns = opened(paths[0]).schema_arrow.names
        image = _column("images", self.image, IMAGES, columns)
        label = _column("labels", self.label, LABELS, columns)
        caption = _column("captions", self.caption, CAPTIONS, columns)
        if not image or not (label or caption):
            raise InvalidInput(
                f"{paths[0]} has the columns {', '.join(columns)}; say which holds the images, and "
                "which the labels or captions: image=, label=, caption="
            )
        rows = [row for path in paths for row in _rows(path, [c for c in (label, caption) if c])]
        column = Column(name=image, cells=tuple(row.cell for row in rows), keep=self.keep)
        ids = tuple(f"{row.cell.path.stem}-{row.number}" for row in rows)
        labels = self._labels(rows, label, paths[0], not caption) if label else None
        if labels and not caption:
            return classified(ids, labels, column)
        captions = [_texts(row, caption) for row in rows]
        return CaptionedRows(
            ids=ids,
            texts=tuple(text for texts in captions for text in texts),
            owner=tuple(number for number, texts in enumerate(captions) for _ in texts),
            column=column,
            labels=labels,
        )

    def _labels(self, rows: Sequence[_Row], column: str, path: Path, needed: bool) -> Labels:
        names = _names(path, column)
        values = [_label(row, column, names, needed) for row in rows]
        if not names:
            names = tuple(sorted({value for value in values if isinstance(value, str)}))
        place = {name: number for number, name in enumerate(names)}
        truth = tuple(place[value] if isinstance(value, str) else value for value in values)
        return Labels(tuple(name.replace("_", " ") for name in names), truth, self.prompt)


class _Row(NamedTuple):
    cell: Cell
    number: int
    values: dict[str, Any]

    @property
    def where(self) -> str:
        """Where it stands, for errors."""
        return f"{self.cell.path} row {self.number}"


def _column(what: str, chosen: str, known: Sequence[str], columns: Sequence[str]) -> str:
    if chosen and chosen not in columns:
        raise UnknownName(f"column of {what}", chosen, columns)
    return chosen or next((name for name in known if name in columns), "")


def _rows(path: Path, columns: list[str]) -> Iterator[_Row]:
    """The rows of a file, without their images."""
    file, number = opened(path), 0
    lost = [column for column in columns if column not in file.schema_arrow.names]
    if lost:
        raise InvalidInput(f"{path} has no column {lost[0]!r}, which other parts have; load it again")
    for group in range(file.num_row_groups):
        for row, values in enumerate(file.read_row_group(group, columns=columns).to_pylist()):
            yield _Row(Cell(path, group, row), number, values)
            number += 1


def _names(path: Path, column: str) -> tuple[str, ...]:
    """The names of the classes, where the file's metadata tell them."""
    metadata = opened(path).schema_arrow.metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        return tuple(str(name) for name in features[column]["names"])
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()


def _label(row: _Row, column: str, names: Sequence[str], needed: bool) -> str | int | None:
    value = row.values[column]
    if value is None or value == -1:  # -1 stands for a hidden label
        if needed:
            raise InvalidInput(f"{row.where}: {column!r} is {value}; take a split with labels")
        return None
    if isinstance(value, str) and (not names or value in names):
        return value
    if isinstance(value, int) and 0 <= value < len(names):
        return value
    known = f"it must be one of {len(names)} classes" if names else "its classes have no names"
    raise InvalidInput(f"{row.where}: {column!r} is {value!r}; {known}")


def _texts(row: _Row, column: str) -> tuple[str, ...]:
    value = row.values[column]
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InvalidInput(f"{row.where}: {column!r} is {value!r}; write one text or more")
    return tuple(text.strip() for text in texts)
