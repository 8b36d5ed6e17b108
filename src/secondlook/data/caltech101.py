"""Caltech-101: photographs of objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from secondlook.bounds import Part
from secondlook.data import images
from secondlook.data.base import Family
from secondlook.data.files import Files
from secondlook.errors import InvalidInput
from secondlook.registry import register

BACKGROUND: Final = "BACKGROUND_Google"
NAMES: Final = {
    "Faces": "off-center face",
    "Faces_easy": "centered face",
    "Leopards": "leopard",
    "Motorbikes": "motorbike",
    "airplanes": "airplane",
    "car_side": "side of a car",
    "cougar_body": "body of a cougar cat",
    "cougar_face": "face of a cougar cat",
    "crocodile_head": "head of a crocodile",
    "flamingo_head": "head of a flamingo",
    "snoopy": "snoopy (cartoon beagle)",
    "yin_yang": "yin and yang symbol",
}
"""What CLIP calls the classes whose folders say it otherwise (Radford et al. 2021, appendix)."""


@register("data", "caltech101")
@dataclass(frozen=True, kw_only=True)
class Caltech101(Family):
    """Caltech-101 (Fei-Fei et al. 2004), all images: ``caltech101:FOLDER``.

    The folder is ``101_ObjectCategories`` as published, or what holds it: a sub-folder per class.
    Its background class is left out: nothing can be asked for by that name. The set has no
    published split.

    Attributes:
        prompt: makes a text of a class name.
        keep: center crop, as a share of the short side.
    """

    prompt: str = "a photo of a {}."
    keep: Part = 1.0

    def load(self) -> Files:
        """Lists the files.

        Raises:
            InvalidInput: fewer than two classes, or one without images.
        """
        inner = self.path / "101_ObjectCategories"
        place = inner if inner.is_dir() else self.path
        folders = [path for path in images.entries(place) if path.is_dir()]
        folders = [path for path in folders if path.name != BACKGROUND]
        if len(folders) < 2:
            raise InvalidInput(f"{place} has {len(folders)} folders of classes; name 101_ObjectCategories")
        found = [(row, path) for row, inner in enumerate(folders) for path in images.find(inner)]
        return Files(
            ids=tuple(path.relative_to(place).as_posix() for _, path in found),
            classes=tuple(_name(path.name) for path in folders),
            paths=tuple(path for _, path in found),
            truth=tuple(row for row, _ in found),
            prompt=self.prompt,
            keep=self.keep,
        )


def _name(folder: str) -> str:
    known = {name.lower(): words for name, words in NAMES.items()}
    return known.get(folder.lower(), folder.replace("_", " "))
