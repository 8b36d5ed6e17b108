"""A folder of images, with a sub-folder for each class or without labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secondlook.bounds import Part
from secondlook.data import images
from secondlook.data.base import Family
from secondlook.data.files import Files
from secondlook.errors import InvalidInput
from secondlook.registry import register


@register("data", "folder")
@dataclass(frozen=True, kw_only=True)
class Folder(Family):
    """Any images, one sub-folder per class, or without classes: ``folder:PATH``.

    A class is called as its sub-folder, with blanks for underscores; folders inside it are read
    with it. Images alone, without any folder, have no labels: the task ``unlabeled`` reads them. What
    is no image is left out, and every report on the data says so.

    Attributes:
        prompt: makes a text of a class name.
        keep: center crop, as a share of the short side.
    """

    prompt: str = "a photo of a {}"
    keep: Part = 1.0

    def load(self) -> Files:
        """Lists the files.

        Raises:
            InvalidInput: fewer than two classes, two of one name, or one without images.
        """
        held = images.entries(self.path)
        folders = [path for path in held if path.is_dir()]
        if not folders and any(path.suffix.lower() in images.EXTENSIONS for path in held):
            return self._flat()
        classes = tuple(path.name.replace("_", " ") for path in folders)
        if len(set(classes)) < max(2, len(classes)):
            raise InvalidInput(
                f"{self.path} has {len(classes)} sub-folders with {len(set(classes))} names and "
                f"{len(held) - len(folders)} files beside them; "
                "make two or more, one per class: cat/1.png, dog/1.png"
            )
        found = [(row, path) for row, inner in enumerate(folders) for path in images.find(inner, deep=True)]
        return Files(
            ids=tuple(path.relative_to(self.path).as_posix() for _, path in found),
            classes=classes,
            paths=tuple(path for _, path in found),
            truth=tuple(row for row, _ in found),
            prompt=self.prompt,
            keep=self.keep,
            provenance=_told(images.left_out(self.path), self.path),
        )

    def _flat(self) -> Files:
        """The images of a folder without folders: nobody says what is on them."""
        found = tuple(images.find(self.path))
        names = tuple(path.name for path in found)
        return Files(
            ids=names,
            classes=names,
            paths=found,
            truth=tuple(range(len(found))),
            keep=self.keep,
            provenance=_told(images.left_out(self.path), self.path),
            unlabeled=True,
        )


def _told(left_out: str, place: Path) -> str:
    return f"Of the data in {place.name}, {left_out}." if left_out else ""
