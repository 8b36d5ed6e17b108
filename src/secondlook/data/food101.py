"""Food-101: photographs of dishes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secondlook.bounds import Part
from secondlook.data.base import Family, part_of
from secondlook.data.files import Files, Line, listed
from secondlook.errors import InvalidInput
from secondlook.registry import register


@register("data", "food101")
@dataclass(frozen=True, kw_only=True)
class Food101(Family):
    """Food-101 (Bossard et al. 2014): ``food101:FOLDER#test``.

    As published: ``images/CLASS/ID.jpg``, and the lists ``meta/test.txt`` and ``meta/train.txt``
    with a line ``CLASS/ID`` for each. The classes are those of the list.

    Attributes:
        prompt: makes a text of a class name.
        keep: center crop, as a share of the short side.
    """

    prompt: str = "a photo of {}, a type of food."
    keep: Part = 1.0

    def load(self) -> Files:
        """Reads the list and finds its images.

        Raises:
            InvalidInput: there is no such list, a line is not in its form or comes twice, or an
                image is missing.
        """
        folder, split = part_of(self.name)
        found = listed(folder / "meta" / f"{split or 'test'}.txt", "CLASS/ID a line")
        paths = {line.values["text"]: _path(line, folder / "images") for line in found}
        classes = sorted({name.split("/")[0] for name in paths})
        return Files(
            ids=tuple(paths),
            classes=tuple(name.replace("_", " ") for name in classes),
            paths=tuple(paths.values()),
            truth=tuple(classes.index(name.split("/")[0]) for name in paths),
            prompt=self.prompt,
            keep=self.keep,
        )


def _path(line: Line, folder: Path) -> Path:
    name = line.values["text"]
    if name.count("/") != 1:
        raise InvalidInput(f"{line.where}: {name!r} must be CLASS/ID, say apple_pie/1005649")
    path = folder / f"{name}.jpg"
    if not path.is_file():
        raise InvalidInput(f"{line.where} names {path}, which is not there; add it")
    return path
