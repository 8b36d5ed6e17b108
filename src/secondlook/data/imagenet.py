"""ImageNet photographs, or samples of them, beside a table of their classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secondlook.bounds import Part
from secondlook.data.base import Family
from secondlook.data.files import Files, Line, pictures, table
from secondlook.errors import InvalidInput
from secondlook.registry import register


@register("data", "imagenet")
@dataclass(frozen=True, kw_only=True)
class ImageNet(Family):
    """ImageNet photographs: ``imagenet:PATH`` with ``labels.csv`` (file,class_index,wnid,name).

    The images lie in ``images/`` or beside the table. The classes are those of the table alone, in
    the order of their index; ``indices`` of the source are those indices. ImageNet calls two pairs
    of classes by one name (*crane*, *maillot*): no text tells them apart, so the images of the
    later class of such a pair are left out.

    Attributes:
        prompt: makes a text of a class name.
        keep: center crop, as a share of the short side.
    """

    prompt: str = "a photo of a {}"
    keep: Part = 0.9

    def load(self) -> Files:
        """Reads the table and finds its images.

        Raises:
            InvalidInput: an index is no number, a class has two names, or a file is missing or
                listed twice.
        """
        found = pictures(self.path)
        labels = _labels(self.path / "labels.csv")
        names = _names(labels)
        rows = {file: label.index for file, label in labels.items() if label.index in names}
        for file in rows:
            if file not in found:
                raise InvalidInput(f"image {file} of labels.csv has no file; add it or drop its line")
        order = {index: row for row, index in enumerate(names)}
        return Files(
            ids=tuple(rows),
            classes=tuple(names.values()),
            paths=tuple(found[file] for file in rows),
            truth=tuple(order[index] for index in rows.values()),
            prompt=self.prompt,
            keep=self.keep,
            indices=tuple(names),
        )


@dataclass(frozen=True, kw_only=True)
class _Label:
    index: int
    name: str
    where: str


def _labels(path: Path) -> dict[str, _Label]:
    """The class of each file."""
    labels: dict[str, _Label] = {}
    for line in table(path, ("file", "class_index", "wnid", "name")):
        file = line.values["file"]
        if file in labels:
            raise InvalidInput(f"{line.where} lists {file} again; keep one of its lines")
        labels[file] = _label(line)
    return labels


def _label(line: Line) -> _Label:
    index = line.values["class_index"]
    if not index.isdecimal():
        raise InvalidInput(f"{line.where}: class_index={index!r} is no number; count from 0")
    return _Label(index=int(index), name=line.values["name"], where=line.where)


def _names(labels: dict[str, _Label]) -> dict[int, str]:
    """The name of each class by index, in order; of two classes with one name, the first."""
    names: dict[int, str] = {}
    for label in labels.values():
        if names.setdefault(label.index, label.name) != label.name:
            raise InvalidInput(
                f"{label.where} calls class {label.index} {label.name!r}, "
                f"an earlier line {names[label.index]!r}; give it one name"
            )
    first = {names[index]: index for index in sorted(names, reverse=True)}
    return {index: names[index] for index in sorted(first.values())}
