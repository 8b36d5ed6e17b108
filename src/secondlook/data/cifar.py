"""CIFAR-10 and CIFAR-100: as published, or all images of a split in one NumPy archive."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from secondlook.data import decoding, images
from secondlook.data.base import Family, Samples, Source
from secondlook.data.batches import Layout, opened
from secondlook.errors import InvalidInput
from secondlook.registry import digest, register

Array = NDArray[Any]

_ROOMY, _RATIO = 64 << 20, 100
"""Bytes that any archive may unpack to, and how many times its size a larger one may."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Archive(Source):
    """Images of an archive, decoded when their rows are read; it is held as it lies on disk.

    Attributes:
        name: what errors call the archive.
        ids: ``STEM-ROW`` of each image.
        classes: names, in the order of the labels.
        truth: the label of each image, ``[n]``.
        prompt: the template around a class name.
        pixels: ``[n, H, W, 3]`` uint8, or the bytes of image files in one row.
        offset: where each file's bytes begin, and the last end, ``[n + 1]``; None for pixels.
        files: the archive.
    """

    name: str
    ids: tuple[str, ...]
    classes: tuple[str, ...]
    truth: Array
    prompt: str
    pixels: Array
    offset: Array | None
    files: tuple[Path, ...] = ()

    def read(self, rows: Sequence[int], size: tuple[int, int] | None) -> Samples:
        """The images ``rows`` with their labels."""
        batch = images.stack([self._image(row, size) for row in rows], [self.ids[r] for r in rows])
        return Samples(batch, torch.tensor([int(self.truth[row]) for row in rows]))

    @property
    def hash(self) -> str:
        """Names, classes, bytes and labels."""
        return digest([super().hash, self.truth.tolist()])

    def _image(self, row: int, size: tuple[int, int] | None) -> Tensor:
        if self.offset is None:
            return decoding.fit(Image.fromarray(self.pixels[row]), size)
        file = io.BytesIO(self.pixels[self.offset[row] : self.offset[row + 1]].tobytes())
        return decoding.decode(file, f"{self.name} image {row}", size)


@register("data", "cifar10")
@dataclass(frozen=True, kw_only=True)
class Cifar(Family):
    """CIFAR-10 (Krizhevsky 2009): ``cifar10:FOLDER#test``, or ``cifar10:PATH.npz``.

    The folder is ``cifar-10-batches-bin`` or ``cifar-10-batches-py`` as published, or what holds
    one of them; its splits are ``test`` and ``train``. The archive holds ``label`` [n],
    ``classes``, and the images: either ``image`` [n, H, W, 3] of 8-bit pixels, or image files end
    to end in ``blob`` with ``offset`` [n + 1], so that image i is
    ``blob[offset[i]:offset[i + 1]]``.

    Attributes:
        prompt: makes a text of a class name.
    """

    prompt: str = "a photo of a {}"
    layout: ClassVar[Layout] = Layout(
        folders=("cifar-10-batches-bin", "cifar-10-batches-py"),
        files={
            "test": ("test_batch",),
            "train": tuple(f"data_batch_{part}" for part in range(1, 6)),
        },
        labels=1,
        key="labels",
        classes=(
            "airplane", "automobile", "bird", "cat", "deer",
            "dog", "frog", "horse", "ship", "truck",
        ),
    )  # fmt: skip

    def load(self) -> Source:
        """Opens the folder, or reads the archive.

        Raises:
            UnknownName: no such split.
            InvalidInput: there is none, or it is not in the layout.
        """
        if self.path.suffix != ".npz":
            return opened(self.name, self.layout, self.prompt)
        arrays = _arrays(self.path)
        label, classes = arrays["label"], arrays["classes"]
        _check_labels(self.path, label, classes)
        offset = arrays.get("offset")
        pixels = arrays["image"] if offset is None else arrays["blob"]
        _check_images(self.path, len(label), pixels, offset)
        return Archive(
            name=str(self.path),
            ids=tuple(f"{self.path.stem}-{row}" for row in range(len(label))),
            classes=tuple(str(name) for name in classes),
            truth=label,
            prompt=self.prompt,
            pixels=pixels,
            offset=offset,
            files=(self.path,),
        )


def _arrays(path: Path) -> dict[str, Array]:
    """The arrays of one of the two layouts."""
    decoding.refuse_irregular(path)
    try:
        _refuse_bomb(path)
        with np.load(path, allow_pickle=False) as archive:
            where = ("blob", "offset") if "blob" in archive else ("image",)
            return {key: archive[key] for key in ("label", "classes", *where)}
    except InvalidInput:
        raise
    except KeyError as error:
        raise InvalidInput(f"{path}: {error.args[0]}; add it: label, classes, and image or blob and offset") from error
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be opened ({decoding.reason(error)}); name a file made by numpy.savez"
        ) from error
    # NumPy's own words for a file of another kind advise to load it unsafely.
    except (ValueError, TypeError, EOFError, MemoryError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidInput(
            f"{path} is broken or no archive of plain arrays; name a file made by numpy.savez"
        ) from error


def _refuse_bomb(path: Path) -> None:
    """Refuses an archive that is far larger unpacked than pictures are, before it is."""
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > max(_ROOMY, _RATIO * path.stat().st_size):
        raise InvalidInput(
            f"{path} unpacks to {size / 1e6:.0f} MB, {size / path.stat().st_size:.0f} times its size; no pictures do"
        )


def _check_labels(path: Path, label: Array, classes: Array) -> None:
    whole = label.ndim == classes.ndim == 1 and label.size > 0 and label.dtype.kind in "iu"
    if not whole or label.min() < 0 or label.max() >= len(classes):
        raise InvalidInput(
            f"{path}: label ({label.dtype}, {list(label.shape)}) must hold for each image the "
            f"number of its class, from 0 to {classes.size - 1}"
        )


def _check_images(path: Path, n: int, pixels: Array, offset: Array | None) -> None:
    if offset is None:
        fits = pixels.dtype == np.uint8 and pixels.ndim == 4 and pixels.shape[::3] == (n, 3) and pixels.size > 0
        wanted = f"image must be uint8 [{n}, H, W, 3]"
    else:
        fits = offset.shape == (n + 1,) and offset.dtype.kind in "iu" and pixels.dtype == np.uint8
        fits = fits and bool((offset[1:] > offset[:-1]).all())
        fits = fits and offset[0] >= 0 and offset[-1] <= len(pixels)
        wanted = f"offset must be {n + 1} rising positions in blob, which is uint8"
    if not fits:
        raise InvalidInput(f"{path}: {wanted}, to go with its {n} labels; write it anew")


CLASSES: Final = (
    "apple", "aquarium fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle",
    "bowl", "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle",
    "chair", "chimpanzee", "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup",
    "dinosaur", "dolphin", "elephant", "flatfish", "forest", "fox", "girl", "hamster", "house",
    "kangaroo", "keyboard", "lamp", "lawn mower", "leopard", "lion", "lizard", "lobster", "man",
    "maple tree", "motorcycle", "mountain", "mouse", "mushroom", "oak tree", "orange", "orchid",
    "otter", "palm tree", "pear", "pickup truck", "pine tree", "plain", "plate", "poppy",
    "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal",
    "shark", "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar",
    "sunflower", "sweet pepper", "table", "tank", "telephone", "television", "tiger", "tractor",
    "train", "trout", "tulip", "turtle", "wardrobe", "whale", "willow tree", "wolf", "woman",
    "worm",
)  # fmt: skip
"""The fine labels in their published order, blanks for underscores."""


@register("data", "cifar100")
@dataclass(frozen=True, kw_only=True)
class Cifar100(Cifar):
    """CIFAR-100 (Krizhevsky 2009), fine labels: ``cifar100:FOLDER#test``, or ``cifar100:PATH.npz``.

    The folder is ``cifar-100-binary`` or ``cifar-100-python`` as published, or what holds one of
    them; the archive is as of ``cifar10:``.

    Attributes:
        prompt: makes a text of a class name.
    """

    prompt: str = "a photo of a {}."
    layout: ClassVar[Layout] = Layout(
        folders=("cifar-100-binary", "cifar-100-python"),
        files={"test": ("test",), "train": ("train",)},
        labels=2,  # the coarse one, then the fine one
        key="fine_labels",
        classes=CLASSES,
    )
