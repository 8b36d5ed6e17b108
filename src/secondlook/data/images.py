"""Image files on disk: finding them, reading them to pixels in [0, 1], writing pixels back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import torch
from PIL import Image
from torch import Tensor

from secondlook.data.decoding import FORMATS, Size, decode, reason
from secondlook.drafts import write_whole
from secondlook.errors import InvalidInput
from secondlook.models.base import check_pixels

EXTENSIONS: Final = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
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
    try:
        with Image.open(path, formats=FORMATS) as picture:
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


def find(folder: Path | str) -> list[Path]:
    """The image files of a folder, not of its sub-folders, sorted by name; hidden ones left out.

    Raises:
        InvalidInput: the folder is missing, no folder, empty, or without images.
    """
    held = entries(folder)
    files = [path for path in held if not path.is_dir()]
    found = [path for path in files if path.suffix.lower() in EXTENSIONS]
    if not found:
        what = f"none of its {len(files)} files is an image" if files else "it holds no files"
        if held and not files:
            inner = ", ".join(path.name for path in held[:3])
            what = f"it holds folders alone ({inner}{', …' if len(held) > 3 else ''})"
        raise InvalidInput(f"no images in {folder}: {what}; put files there that end in {', '.join(EXTENSIONS)}")
    return found


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
