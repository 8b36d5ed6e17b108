"""Image files on disk: finding them, reading them to pixels in [0, 1], writing pixels back."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from PIL import Image
from torch import Tensor

from secondlook.data.decoding import FORMATS, Size, decode, reason, refuse_irregular, strictly
from secondlook.drafts import write_whole
from secondlook.errors import InvalidInput
from secondlook.models.base import check_pixels

EXTENSIONS: Final = (
    *(".avif", ".bmp", ".gif", ".jfif", ".jif", ".jpe", ".jpeg", ".jpg", ".pgm", ".pjp", ".pjpeg", ".png", ".pnm"),
    *(".ppm", ".tif", ".tiff", ".webp"),
)
"""What a file must end in, in small or capital letters, to count as an image."""

# The EXIF tag, and its values for a camera that lay on its side.
_ORIENTATION: Final = 0x0112
_LYING: Final = (5, 6, 7, 8)


def read(path: Path | str, size: Size | None, keep: float = 1.0) -> Tensor:
    """Reads one image file.

    Args:
        path: the file.
        size: height and width of the result; None keeps the picture whole, at its own size.
        keep: share of the short side that a center crop keeps before it is resized to ``size``.

    Returns:
        Pixels ``[3, H, W]`` in [0, 1].

    Raises:
        InvalidInput: the file is missing, or as ``secondlook.data.decoding.decode`` raises it.
    """
    refuse_irregular(Path(path))
    try:
        with open(path, "rb") as file:
            return decode(file, str(path), size, keep)
    except OSError as error:
        raise InvalidInput(f"{path} cannot be opened ({reason(error)}); check the path and its permissions") from error


def extent(path: Path | str) -> Size:
    """Height and width of an image file as ``read`` shows it, from its header alone.

    Raises:
        InvalidInput: the file is missing or no image.
    """
    refuse_irregular(Path(path))
    try:
        with strictly(), Image.open(path, formats=FORMATS) as picture:
            turned = picture.getexif().get(_ORIENTATION, 1) in _LYING
            return (picture.width, picture.height) if turned else (picture.height, picture.width)
    # As in decoding: broken bytes raise almost anything.
    except Exception as error:
        raise InvalidInput(
            f"{path} cannot be read as an image ({reason(error)}); replace the file or remove it"
        ) from error


def stack(images: Sequence[Tensor], names: Sequence[str]) -> Tensor:
    """Images ``[3, H, W]`` as one batch ``[B, 3, H, W]``.

    Raises:
        InvalidInput: there is none, or they differ in size.
    """
    if not images:
        raise InvalidInput("no rows were asked for; name one or more")
    for image, name in zip(images, names, strict=True):
        if image.shape != images[0].shape:
            (h, w), (height, width) = image.shape[-2:], images[0].shape[-2:]
            raise InvalidInput(
                f"{name} is {h}x{w} and {names[0]} is {height}x{width} (height x width); "
                "give a size to bring them all to"
            )
    return torch.stack(list(images))


def write_png(path: Path | str, x: Tensor) -> None:
    """Writes pixels ``[3, H, W]`` in [0, 1], rounded to 8 bits; the file appears whole or not.

    Raises:
        InvalidInput: no such pixels, another extension than .png, or a folder that is missing,
            full or closed to writing.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise InvalidInput(f"{path} must end in .png; other formats would change the pixels")
    check_pixels(x[None], str(path))
    pixels = (x.detach().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, format="PNG")
    try:
        write_whole(path, written.getvalue())
    except OSError as error:
        raise InvalidInput(
            f"{path} cannot be written ({reason(error)}); check its folder and the space left there"
        ) from error


def find(folder: Path | str, deep: bool = False) -> list[Path]:
    """The image files of a folder, sorted by name; hidden ones left out.

    Args:
        folder: where they lie.
        deep: whether those of its sub-folders are taken, too.

    Raises:
        InvalidInput: the folder is missing, no folder, empty, or without images; or what is called
            as an image is no file.
    """
    held = _walked(Path(folder)) if deep else entries(folder)
    files = [path for path in held if not path.is_dir()]
    found = [path for path in files if path.suffix.lower() in EXTENSIONS]
    for path in found:
        if path.exists() and not path.is_file():
            raise InvalidInput(f"{path} is no regular file, and reading it might never end; take it away")
    if not found:
        what = f"none of its {len(files)} files is an image" if files else "it holds no files"
        if held and not files:
            inner = ", ".join(path.name for path in held[:3])
            what = f"it holds folders alone ({inner}{', …' if len(held) > 3 else ''})"
        raise InvalidInput(f"no images in {folder}: {what}; put files there that end in {', '.join(EXTENSIONS)}")
    return found


def left_out(folder: Path | str, out: Path | None = None) -> str:
    """What :func:`find` passes over in a folder and below it, in words; empty where it is nothing.

    Args:
        folder: where the images lie.
        out: a folder that does not count, into which a command writes.

    Example:
        ``3 files are no images that are read here: 2 .heic, 1 .txt``
    """
    kinds = Counter(
        path.suffix.lower() or "without a suffix"
        for path in _walked(Path(folder))
        if path.suffix.lower() not in EXTENSIONS and not (out and out.resolve() in path.resolve().parents)
    )
    if not kinds:
        return ""
    files = "1 file is no image that is" if kinds.total() == 1 else f"{kinds.total()} files are no images that are"
    return f"{files} read here: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))


def _walked(folder: Path) -> list[Path]:
    """All files of a folder and below it, folder by folder in the order of their names."""
    held = entries(folder)
    inner = [path for path in held if path.is_dir() and not path.is_symlink()]
    files = [path for path in held if not path.is_dir()]
    return [*files, *(path for sub in inner for path in _walked(sub))]


def entries(folder: Path | str) -> list[Path]:
    """What lies in a folder, sorted by name; hidden entries left out.

    Raises:
        InvalidInput: the folder is missing, no folder, or closed to reading.
    """
    try:
        found = [path for path in Path(folder).iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be read as a folder ({reason(error)}); name one that is there") from error
    return sorted(found, key=lambda path: path.name)
