"""Captioned photographs in the published layout of Flickr8k."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from secondlook.bounds import Part
from secondlook.data.base import Family, part_of
from secondlook.data.captioned import CaptionedFiles
from secondlook.data.files import listed, pictures, table
from secondlook.errors import InvalidInput
from secondlook.registry import register


@register("data", "flickr8k")
@dataclass(frozen=True, kw_only=True)
class Flickr8k(Family):
    """Captioned photographs: ``flickr8k:PATH``, or ``flickr8k:PATH#test`` for those of test.txt.

    The folder holds ``captions.txt`` (CSV, ``image,caption``, several lines per image), the
    images in ``images/`` or beside it, and for ``#NAME`` a list ``NAME.txt``, an image a line.
    As classes, each image is one of its own, and its text is its first caption whose words are not
    those of an earlier image's text.

    Attributes:
        keep: center crop, as a share of the short side.
    """

    keep: Part = 0.9

    def load(self) -> CaptionedFiles:
        """Pairs images with captions.

        Raises:
            InvalidInput: a caption without its image, an image without a caption, an image listed
                twice, or no such list.
        """
        folder, subset = part_of(self.name)
        files = pictures(folder)
        captions = _captions(folder / "captions.txt")
        names = [*captions, *sorted(files.keys() - captions)]
        if subset:
            chosen = listed(folder / f"{subset}.txt", f"an image a line for #{subset}")
            names = [line.values["text"] for line in chosen]
        for name in names:
            _check_pair(name, name in captions, name in files)
        return CaptionedFiles(
            ids=tuple(names),
            texts=tuple(caption for name in names for caption in captions[name]),
            owner=tuple(row for row, name in enumerate(names) for _ in captions[name]),
            paths=tuple(files[name] for name in names),
            place=self.name,
            keep=self.keep,
        )


def _captions(path: Path) -> dict[str, list[str]]:
    """The captions of each image, both in the order of the file."""
    captions: dict[str, list[str]] = {}
    for line in table(path, ("image", "caption")):
        captions.setdefault(line.values["image"], []).append(line.values["caption"])
    return captions


def _check_pair(name: str, captioned: bool, filed: bool) -> None:
    if not captioned:
        raise InvalidInput(f"image {name} has no line in captions.txt; caption it or remove it")
    if not filed:
        raise InvalidInput(f"image {name} has captions but no file; add it or remove its lines")
