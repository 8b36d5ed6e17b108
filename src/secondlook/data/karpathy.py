"""Captioned photographs with Karpathy's splits: Flickr8k, Flickr30k, COCO, and others since."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from secondlook.bounds import Part
from secondlook.data.annotations import Record, assemble, members, parse, parsed, text
from secondlook.data.base import Family
from secondlook.data.captioned import CaptionedFiles, Entry
from secondlook.errors import InvalidInput
from secondlook.registry import register


@register("data", "karpathy")
@dataclass(frozen=True, kw_only=True)
class Karpathy(Family):
    """Captioned images with Karpathy's splits: ``karpathy:FILE.json#test``.

    The file is ``{"images": [{"filename", "split", "sentences": [{"raw"}]}]}``, with ``filepath``,
    the image's folder, where the set has several (Karpathy and Fei-Fei 2015). The images lie beside
    it or in ``images/`` there; ``FILE.json@FOLDER#test`` names another folder. Splits are joined by
    a plus: COCO is trained on ``#train+restval``. Without images the captions can still be used.

    Attributes:
        keep: center crop, as a share of the short side.
    """

    keep: Part = 1.0

    def load(self) -> CaptionedFiles:
        """Reads the captions and finds their images.

        Raises:
            InvalidInput: the file is not in the layout, has no such split, names an image twice or
                one that is missing.
        """
        place = parse(self.name)
        return assemble(list(entries(place.file, place.split)), place, keep=self.keep)


def entries(path: Path, split: str) -> Iterator[Entry]:
    """The images of a split, or of a sum of splits; of all, where it is empty.

    Raises:
        InvalidInput: the file is not in the layout, or has no such split.
    """
    content = parsed(path)
    if not isinstance(content, dict) or "images" not in content:
        raise InvalidInput(f"{path} has no 'images'; it must be {{\"images\": [{{...}}, ...]}}")
    found = list(members(content["images"], f"{path}: images"))
    known = {text(record, "split", where) for where, record in found} if split else set()
    wanted = set(split.split("+")) if split else set()
    if not wanted <= known:
        lost = ", ".join(sorted(wanted - known))
        raise InvalidInput(f"{path} has no split {lost!r}; it has {', '.join(sorted(known))}")
    for where, record in found:
        if not split or text(record, "split", where) in wanted:
            yield Entry(where, _image(record, where), _sentences(record, where))


def _image(record: Record, where: str) -> str:
    name = text(record, "filename", where)
    return f"{text(record, 'filepath', where)}/{name}" if record.get("filepath") else name


def _sentences(record: Record, where: str) -> tuple[str, ...]:
    found = members(record.get("sentences"), f"{where}.sentences")
    sentences = tuple(text(sentence, "raw", inner) for inner, sentence in found)
    if not sentences:
        raise InvalidInput(f"{where}: 'sentences' is empty; write one or take the image away")
    return sentences
