"""RSICD: aerial images with five captions each, and a class in the names of most of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from secondlook.bounds import Part
from secondlook.data.annotations import Place, assemble, parse, records, several, text
from secondlook.data.base import Family
from secondlook.data.captioned import CaptionedFiles, Entry, Labels
from secondlook.data.karpathy import entries as of_splits
from secondlook.errors import InvalidInput
from secondlook.registry import register

CLASSES: Final = {
    name: readable or name
    for name, readable in {
        "airport": "", "bareland": "bare land", "baseballfield": "baseball field", "beach": "",
        "bridge": "", "center": "", "church": "", "commercial": "commercial area",
        "denseresidential": "dense residential area", "desert": "", "farmland": "", "forest": "",
        "industrial": "industrial area", "meadow": "",
        "mediumresidential": "medium residential area", "mountain": "", "park": "",
        "parking": "parking lot", "playground": "", "pond": "", "port": "",
        "railwaystation": "railway station", "resort": "", "river": "", "school": "",
        "sparseresidential": "sparse residential area", "square": "", "stadium": "",
        "storagetanks": "storage tanks", "viaduct": "",
    }.items()
}  # fmt: skip
"""The 30 classes as file names spell them, and in words."""


@register("data", "rsicd")
@dataclass(frozen=True, kw_only=True)
class Rsicd(Family):
    """RSICD (Lu et al. 2017): ``rsicd:dataset_rsicd.json#test``, or ``rsicd:FILE.jsonl``.

    The JSON is Karpathy's; the JSON lines are CLIP-rsicd's, ``{"filename", "captions": [TEXT]}``.
    Images lie beside the file, in ``images/``, ``RSICD_images/`` or ``rsicd_images/`` there, or in
    the FOLDER of ``FILE@FOLDER``. All images have captions. The name before the underscore is the
    class of an image (``airport_348.jpg``); those with a number for a name have none, and
    ``labeled()`` of the source, and with it classification, leaves them out.

    Attributes:
        prompt: makes a text of a class name; CLIP-rsicd's own.
        spelling: class names in words, or as the file names spell them (CLIP-rsicd's figures).
        keep: center crop, as a share of the short side.
    """

    prompt: str = "Aerial photograph of {}"
    spelling: Literal["words", "published"] = "words"
    keep: Part = 1.0

    def load(self) -> CaptionedFiles:
        """Reads the captions and finds their images.

        Raises:
            InvalidInput: the file is in neither layout, names an image twice or one that is
                missing, or a name begins with no known class.
        """
        place = parse(self.name)
        found = list(_entries(place))
        used = sorted({name for name in map(_class, found) if name})
        truth = tuple(used.index(name) if name else None for name in map(_class, found))
        classes = tuple(used if self.spelling == "published" else (CLASSES[n] for n in used))
        labels = Labels(classes, truth, self.prompt) if used else None
        folders = ("RSICD_images", "rsicd_images")
        return assemble(found, place, folders=folders, keep=self.keep, labels=labels)


def _entries(place: Place) -> Iterator[Entry]:
    if place.file.suffix != ".jsonl":
        yield from of_splits(place.file, place.split)
        return
    if place.split:
        raise InvalidInput(f"{place.file} is one split; leave #{place.split} out")
    for where, record in records(place.file):
        captions = several(record.get("captions"), "captions", where)
        # The lines name a folder, the JSON does not; an image has one name in both.
        yield Entry(where, Path(text(record, "filename", where)).name, captions)


def _class(entry: Entry) -> str | None:
    name = Path(entry.image).stem
    if re.fullmatch(r"\d+", name):
        return None
    prefix = name.rpartition("_")[0]
    if prefix not in CLASSES:
        raise InvalidInput(
            f"{entry.where}: {entry.image} begins with none of RSICD's 30 classes; use karpathy: for other sets"
        )
    return prefix
