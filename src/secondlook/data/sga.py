"""Captioned photographs as ALBEF lists them, and with it SGA and Co-Attack."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from secondlook.bounds import Part
from secondlook.data.annotations import assemble, members, parse, parsed, several, text
from secondlook.data.base import Family
from secondlook.data.captioned import CaptionedFiles, Entry
from secondlook.registry import register


@register("data", "sga")
@dataclass(frozen=True, kw_only=True)
class Sga(Family):
    """Captioned images in ALBEF's and SGA's list: ``sga:FILE.json``.

    The file is ``[{"image": PATH, "caption": [TEXT, ...]}]``; where a caption is one text, as in
    the lists for training, the entries of one image are put together. The images lie beside it or
    in ``images/`` there; ``FILE.json@FOLDER`` names another folder. Without images the captions can
    still be used.

    Attributes:
        keep: center crop, as a share of the short side.
    """

    keep: Part = 1.0

    def load(self) -> CaptionedFiles:
        """Reads the captions and finds their images.

        Raises:
            InvalidInput: the file is not in the layout, names an image twice or one that is
                missing.
        """
        place = parse(self.name)
        return assemble(list(_entries(place.file)), place, keep=self.keep)


def _entries(path: Path) -> Iterator[Entry]:
    single: dict[str, Entry] = {}
    for where, record in members(parsed(path), str(path)):
        image = text(record, "image", where)
        if not isinstance(record.get("caption"), str):
            yield Entry(where, image, several(record.get("caption"), "caption", where))
            continue
        first = single.get(image, Entry(where, image, ()))
        single[image] = first._replace(captions=(*first.captions, text(record, "caption", where)))
    yield from single.values()
