"""What every source of images or sounds answers, whatever its layout on disk."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from secondlook.data.captions import groups, own
from secondlook.errors import InvalidInput
from secondlook.registry import digest
from secondlook.signals import IMAGE, Signal


class Samples(NamedTuple):
    """A batch that a source has read.

    Attributes:
        images: ``[B, 3, H, W]`` in [0, 1], all of one size: the attacked resolution.
        truth: ``[B]``, index into the source's ``classes``.
    """

    images: Tensor
    truth: Tensor


class Listing(ABC):
    """Named samples of any modality with candidate texts; nothing is held in memory but names.

    Attributes:
        ids: one stable, unique name per sample; it keys the sample's randomness.
        classes: the candidate texts: class names, or one caption per sample.
        prompt: the template that makes a text of a class name; ``{}`` for captions.
        indices: the published index of each class, where a benchmark has such; else None.
        provenance: a caveat for every figure, where somebody else has changed the samples; else "".
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    prompt: str = "{}"
    indices: tuple[int, ...] | None = None
    provenance: str = ""

    @property
    def files(self) -> Sequence[Path]:
        """The files that its samples are read from, in order; none where they are made."""
        return ()

    @cached_property
    def content(self) -> tuple[str, ...]:
        """A hash of the bytes of its files, or nothing where it has none.

        Raises:
            InvalidInput: a file is missing or cannot be read.
        """
        return (content_hash(self.files),) if self.files else ()

    @property
    def hash(self) -> str:
        """Identifies what is read, for the provenance of a result: names, classes and bytes."""
        return digest([self.ids, self.classes, self.prompt, *self.content])

    def __len__(self) -> int:
        return len(self.ids)


class Source(Listing):
    """Images with a truth, read lazily.

    Whatever a subclass reads or computes is rounded to whole 255ths, so that what is attacked is
    what an 8-bit file can hold.

    Attributes:
        rounded: whether it is; not so for images whose very numbers are the matter.
        signal: what it reads: images, or sounds as they are carried, ``[B, 1, 1, T]`` in [0, 1].
    """

    rounded: ClassVar[bool] = True
    signal: ClassVar[Signal] = IMAGE

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "read" in vars(cls) and cls.rounded:
            cls.read = _on_grid(cls.read)  # type: ignore[method-assign, assignment]

    @abstractmethod
    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """Reads the images ``rows`` at ``size`` (height, width).

        ``None`` keeps the source's own size, where all its images have one.

        Raises:
            InvalidInput: a file is unreadable, truncated, or of a kind that is no image.
        """

    def labeled(self) -> Source:
        """The images that have a class, and the classes: what classification reads.

        All of them and itself, but where a set gives captions to all and a class to some.
        """
        return self

    def captioned(self) -> Captioned:
        """The images with their captions: what retrieval reads.

        Raises:
            InvalidInput: the source has classes and no captions.
        """
        raise InvalidInput(
            f"{self.ids[0]} and the others have no captions; name a set with captions, such as "
            "scenes:test, flickr8k:FOLDER or karpathy:FILE.json#test"
        )


def part_of(name: str) -> tuple[Path, str]:
    """``PATH#PART`` as both; the part is empty where none is named.

    A ``#`` in the name of a file or folder that exists is a part of the path.

    Example:
        >>> part_of("nowhere/pets#test")
        (PosixPath('nowhere/pets'), 'test')
    """
    cuts = [at for at, letter in enumerate(name) if letter == "#"]
    for at in (len(name), *reversed(cuts)):
        path = Path(name[:at]).expanduser()
        if path.exists():
            return path, name[at + 1 :]
    place, _, part = name.partition("#")
    return Path(place).expanduser(), part


Read = Callable[[Any, Sequence[int], tuple[int, int] | None], Samples]


def _on_grid(read: Read) -> Read:
    """``read`` with its images rounded to whole 255ths."""

    @wraps(read)
    def rounded(self: Any, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        found = read(self, rows, size)
        return found._replace(images=(found.images * 255).round() / 255)

    return rounded


_known: dict[tuple[str, int, int, int, int], str] = {}


def content_hash(files: Sequence[Path]) -> str:
    """SHA-256 over the bytes of files in order; 16 hexadecimal digits.

    A file is read once in a process, unless its size, place on disk or times have changed.

    Raises:
        InvalidInput: a file is missing or cannot be read.
    """
    return digest([_file_hash(path) for path in files])


def _file_hash(path: Path) -> str:
    try:
        found = path.stat()
        key = (str(path.absolute()), found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if key not in _known:
            with path.open("rb") as file:
                _known[key] = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InvalidInput(f"{path} cannot be opened ({error.strerror}); check the path and its permissions") from error
    return _known[key]


class Captioned(Source):
    """Images with captions. As a set to classify, each image is a class with a text of its own.

    Attributes:
        texts: all captions, those of one image side by side.
        owner: for each text the row of its image.
    """

    texts: tuple[str, ...]
    owner: tuple[int, ...]

    @cached_property
    def classes(self) -> tuple[str, ...]:  # type: ignore[override]
        """For each image its first caption that is not an earlier image's.

        Chosen when first asked for: a set of which an image has no such caption can still be
        searched by its captions.

        Raises:
            InvalidInput: an image has no caption of its own.
        """
        return own({name: self.captions(row) for row, name in enumerate(self.ids)})

    def captions(self, row: int) -> tuple[str, ...]:
        """The captions of one image, in their published order."""
        return tuple(self.texts[text] for text in self._texts_of[row])

    def captioned(self) -> Captioned:
        """Itself."""
        return self

    @cached_property
    def positives(self) -> tuple[tuple[int, ...], ...]:
        """For each text the rows of all images with it or with one that says the same.

        A search by that text has found what it describes with any of them; a recall that counts
        the text's owner alone has false negatives built in.
        """
        rows: list[tuple[int, ...]] = [()] * len(self.texts)
        for group in groups(self.texts):
            positives = tuple(sorted({self.owner[text] for text in group}))
            for text in group:
                rows[text] = positives
        return tuple(rows)

    @property
    def hash(self) -> str:
        """Names, captions and bytes."""
        return digest([self.ids, self.texts, self.owner, self.prompt, *self.content])

    @abstractmethod
    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """Reads the images ``rows``; the truth of each is its own row."""

    @cached_property
    def _texts_of(self) -> tuple[tuple[int, ...], ...]:
        found: list[list[int]] = [[] for _ in self.ids]
        for text, row in enumerate(self.owner):
            found[row].append(text)
        return tuple(map(tuple, found))


@dataclass(frozen=True, kw_only=True)
class Family(ABC):
    """A layout of data; ``name`` is what follows the colon of ``FAMILY:NAME``."""

    name: str

    @abstractmethod
    def load(self) -> Listing:
        """Opens the source; its images or sounds are read later, row by row.

        Raises:
            InvalidInput: what lies there is not in this layout.
        """

    @staticmethod
    def listed() -> dict[str, str]:
        """What the family knows by name; nothing where names are paths."""
        return {}

    @property
    def path(self) -> Path:
        """``name`` as a path, ``~`` written out."""
        return Path(self.name).expanduser()
