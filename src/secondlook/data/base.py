"""What every source of images answers, whatever its layout on disk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.registry import digest

if TYPE_CHECKING:
    from secondlook.data.captioned import Captioned


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
    def hash(self) -> str:
        """Identifies what was read, for the provenance of a result."""
        return digest([self.ids, self.classes, self.prompt])

    def __len__(self) -> int:
        return len(self.ids)


class Source(Listing):
    """Images with a truth, read lazily."""

    @abstractmethod
    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """Reads the images ``rows`` at ``size`` (height, width).

        ``None`` keeps the source's own size, where all its images have one.

        Raises:
            InvalidInput: a file is unreadable, truncated, or of a kind that is no image.
        """

    def labelled(self) -> Source:
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
