"""Images with several captions each, a file an image: what the layouts of retrieval share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from secondlook.data import images
from secondlook.data.base import Captioned, Samples, Source
from secondlook.data.files import Files
from secondlook.errors import InvalidInput
from secondlook.registry import digest


class Labels(NamedTuple):
    """Classes that some or all images of a captioned set have beside their captions.

    Attributes:
        classes: their names.
        truth: the class of each image, None where it has none.
        prompt: the template around a class name.
    """

    classes: tuple[str, ...]
    truth: tuple[int | None, ...]
    prompt: str


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionedFiles(Captioned):
    """Captioned images that are a file each.

    Attributes:
        ids: one name per image.
        texts: all captions.
        owner: the row of each caption's image.
        paths: the file of each image; None where only the captions are there.
        place: where the captions came from, for errors.
        keep: center crop, see ``secondlook.data.images.read``.
        labels: the classes of the images, where they have such.
    """

    ids: tuple[str, ...]
    texts: tuple[str, ...]
    owner: tuple[int, ...]
    paths: tuple[Path, ...] | None
    place: str
    keep: float = 1.0
    labels: Labels | None = None

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """The images ``rows``, cropped to ``keep`` and resized; the truth of each is its own row.

        Raises:
            InvalidInput: only the captions are there, or a file is no image.
        """
        paths = self._files()
        pictures = [images.read(paths[row], size, self.keep) for row in rows]
        batch = images.stack(pictures, [str(paths[row]) for row in rows])
        return Samples(batch, torch.tensor([range(len(self))[row] for row in rows]))

    def labeled(self) -> Source:
        """The images with a class; itself, where the set has no classes but its captions."""
        if self.labels is None:
            return self
        rows = [(row, label) for row, label in enumerate(self.labels.truth) if label is not None]
        paths = self._files()
        return Files(
            ids=tuple(self.ids[row] for row, _ in rows),
            classes=self.labels.classes,
            paths=tuple(paths[row] for row, _ in rows),
            truth=tuple(label for _, label in rows),
            prompt=self.labels.prompt,
            keep=self.keep,
        )

    @property
    def files(self) -> tuple[Path, ...]:
        return self.paths or ()

    @property
    def hash(self) -> str:
        """Names, captions, bytes and crop; where the files lie is left out."""
        return digest([super().hash, self.keep])

    def _files(self) -> tuple[Path, ...]:
        if self.paths is None:
            raise InvalidInput(
                f"{self.place} lies there without its images, {self.ids[0]} and the others; put "
                "them into a folder images/ beside it, or write FILE@FOLDER to say where they are"
            )
        return self.paths


class Entry(NamedTuple):
    """What a layout says of one image.

    Attributes:
        where: the place in its file, for errors.
        image: the image's name or path, as it is written there.
        captions: one or more.
    """

    where: str
    image: str
    captions: tuple[str, ...]


def unique(entries: Sequence[Entry], name: str) -> Sequence[Entry]:
    """The entries, of which there must be one or more, each of another image.

    Raises:
        InvalidInput: there is none, or an image comes twice.
    """
    if not entries:
        raise InvalidInput(f"{name} holds no image; name another file or split")
    for image, times in Counter(entry.image for entry in entries).items():
        if times > 1:
            second = [entry for entry in entries if entry.image == image][1]
            raise InvalidInput(f"{second.where} names {image} again; put all captions of an image into one entry")
    return entries
