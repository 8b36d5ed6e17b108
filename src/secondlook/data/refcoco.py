"""Sentences that point at a thing in a photograph, and the box around it: RefCOCO and its like."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.data import images
from secondlook.data.annotations import Record, assemble, members, parse, parsed, several, text
from secondlook.data.base import Family, Samples
from secondlook.data.captioned import CaptionedFiles, Entry
from secondlook.errors import InvalidInput
from secondlook.registry import digest, register

Box = tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Grounded(CaptionedFiles):
    """Captioned images whose texts each stand for a box.

    Attributes:
        frames: for each text its box, left, top, width and height in pixels of the image's file.
        wheres: for each text its place in the annotations, for errors.
    """

    frames: tuple[Box, ...]
    wheres: tuple[str, ...]

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """The images ``rows`` whole: brought to ``size`` by stretching, so that no box is cut."""
        paths = self._files()
        pictures = [_stretched(images.read(paths[row], None), size) for row in rows]
        batch = images.stack(pictures, [str(paths[row]) for row in rows])
        return Samples(batch, torch.tensor([range(len(self))[row] for row in rows]))

    def boxes(self, texts: Sequence[int]) -> Tensor:
        """The boxes of texts, ``[T, 4]``: left, top, width, height as shares of the image.

        Raises:
            InvalidInput: a box reaches out of its image, or the image cannot be read.
        """
        return torch.tensor([self._box(text) for text in texts]).reshape(-1, 4)

    @property
    def hash(self) -> str:
        """Names, texts and boxes."""
        return digest([super().hash, self.frames])

    def _box(self, text: int) -> Box:
        path = self._files()[self.owner[text]]
        height, width = images.extent(path)
        x, y, w, h = self.frames[text]
        # Annotators' boxes may stick out by the rounding of a pixel.
        if x + w > width + 1 or y + h > height + 1:
            raise InvalidInput(
                f"{self.wheres[text]}: bbox {list(self.frames[text])} reaches out of {path}, "
                f"{width}x{height}; it must be [left, top, width, height] in pixels"
            )
        return x / width, y / height, w / width, h / height


@register("data", "refcoco")
@dataclass(frozen=True, kw_only=True)
class RefCoco(Family):
    """Referring expressions: ``refcoco:FILE.json``, a list of images, sentences and boxes.

    ``[{"image": PATH, "sentence": TEXT, "bbox": [LEFT, TOP, WIDTH, HEIGHT]}]`` in pixels; a list
    under ``sentences`` stands for several of one box, and an image may come in many entries. The
    images lie beside the file or in ``images/`` there; ``FILE.json@FOLDER`` names another folder.
    """

    def load(self) -> Grounded:
        """Reads the sentences and finds their images.

        Raises:
            InvalidInput: the file is not in the layout, a box is empty or negative, or an image is
                missing.
        """
        place = parse(self.name)
        found: dict[str, list[_Reference]] = {}
        for reference in _references(place.file):
            found.setdefault(reference.image, []).append(reference)
        plain = assemble([_entry(image, group) for image, group in found.items()], place)
        each = [r for group in found.values() for r in group for _ in r.sentences]
        return Grounded(
            ids=plain.ids,
            texts=plain.texts,
            owner=plain.owner,
            paths=plain.paths,
            place=plain.place,
            frames=tuple(reference.box for reference in each),
            wheres=tuple(reference.where for reference in each),
        )


class _Reference(NamedTuple):
    where: str
    image: str
    sentences: tuple[str, ...]
    box: Box


def _references(path: Path) -> Iterator[_Reference]:
    for where, record in members(parsed(path), str(path)):
        sentences = (
            several(record["sentences"], "sentences", where)
            if "sentences" in record
            else (text(record, "sentence", where),)
        )
        yield _Reference(where, text(record, "image", where), sentences, _bbox(record, where))


def _bbox(record: Record, where: str) -> Box:
    value: Any = record.get("bbox")
    whole = isinstance(value, list) and len(value) == 4
    whole = whole and all(type(side) in (int, float) and math.isfinite(side) for side in value)
    if not whole or min(value[:2]) < 0 or min(value[2:]) <= 0:
        raise InvalidInput(
            f"{where}: bbox is {value!r}; write [left, top, width, height] in pixels, width and height above 0"
        )
    return tuple(float(side) for side in value)  # type: ignore[return-value]


def _entry(image: str, group: Sequence[_Reference]) -> Entry:
    sentences = tuple(sentence for reference in group for sentence in reference.sentences)
    return Entry(group[0].where, image, sentences)


def _stretched(picture: Tensor, size: tuple[int, int] | None) -> Tensor:
    if size is None or tuple(picture.shape[-2:]) == tuple(size):
        return picture
    if min(size) < 1:
        raise InvalidInput(f"size={size} must be 1 or more each way; write (height, width)")
    resized = F.interpolate(picture[None], size, mode="bicubic", antialias=True)
    return resized[0].clamp(0, 1)
