"""Captioned images in a table, or in a text file with a line for each image."""

from __future__ import annotations

from dataclasses import dataclass

from secondlook.bounds import Part
from secondlook.data import images
from secondlook.data.annotations import assemble, parse
from secondlook.data.base import Family
from secondlook.data.captioned import CaptionedFiles, Entry
from secondlook.data.files import lines, table
from secondlook.errors import InvalidInput
from secondlook.registry import register


@register("data", "csv")
@dataclass(frozen=True, kw_only=True)
class Csv(Family):
    """Captioned images in a table: ``csv:FILE.csv`` with the columns ``image,caption``.

    A line per caption; those of one image are put together. The images lie beside the table or in
    ``images/`` there; ``FILE.csv@FOLDER`` names another folder. Without images the captions can
    still be used.

    Attributes:
        image: the column of the image's path.
        caption: the column of the caption.
        keep: center crop, as a share of the short side.
    """

    image: str = "image"
    caption: str = "caption"
    keep: Part = 1.0

    def load(self) -> CaptionedFiles:
        """Reads the table and finds its images.

        Raises:
            InvalidInput: the table is broken, or some of its images are missing.
        """
        place = parse(self.name)
        found: dict[str, Entry] = {}
        for where, values in table(place.file, (self.image, self.caption)):
            name = values[self.image]
            entry = found.get(name, Entry(where, name, ()))
            found[name] = entry._replace(captions=(*entry.captions, values[self.caption]))
        return assemble(list(found.values()), place, keep=self.keep)


@register("data", "lines")
@dataclass(frozen=True, kw_only=True)
class Lines(Family):
    """One caption per line for the images of a folder: ``lines:FILE.txt@FOLDER``.

    Line by line for image by image, sorted by name (AttackVLM's target texts). Without ``@FOLDER``
    the images are those of ``images/`` beside the file.

    Attributes:
        keep: center crop, as a share of the short side.
    """

    keep: Part = 1.0

    def load(self) -> CaptionedFiles:
        """Pairs lines with images.

        Raises:
            InvalidInput: there are more of the one than of the other.
        """
        place = parse(self.name)
        captions = lines(place.file, "a caption a line")
        files = images.find(place.images or place.file.parent / "images")
        if len(captions) != len(files):
            raise InvalidInput(
                f"{place.file} has {len(captions)} captions and {files[0].parent} {len(files)} "
                "images; one line is wanted for each image, in the order of their names"
            )
        paired = zip(captions, files, strict=True)
        found = [Entry(line.where, path.name, (line.values["text"],)) for line, path in paired]
        return assemble(found, place._replace(images=files[0].parent), keep=self.keep)
