"""The bytes of an image file of any kind become upright RGB pixels in [0, 1]."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from secondlook.errors import InvalidInput

FORMATS: Final = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""What is decoded, by content and not by name; Pillow's others may start outside programs."""

MAX_PIXELS: Final = 50_000_000
"""A larger image is refused from its header, before it takes memory."""

_SHRINK: Final = f"shrink it to {MAX_PIXELS / 1e6:g} megapixels or fewer"
# Some releases of Pillow open these formats' 16-bit files in the 32-bit mode.
_GRAY_16: Final = ("PNG", "PPM")

Size = tuple[int, int]
"""Height and width."""


def decode(file: BinaryIO, name: str, size: Size | None, keep: float = 1.0) -> Tensor:
    """Decodes an open image file that errors call ``name``.

    Upright by its EXIF orientation; transparency is laid on white, 16-bit gray is scaled to 8
    bits, and of an animation the first frame is taken.

    Args:
        file: open at its beginning, seekable.
        name: what errors call it.
        size: height and width of the result; None keeps the picture whole, at its own size.
        keep: see ``fit``.

    Returns:
        Pixels ``[3, H, W]`` in [0, 1].

    Raises:
        InvalidInput: the file is empty, truncated, too large, or no image.
    """
    try:
        with strictly(), Image.open(file, formats=FORMATS) as picture:
            _check_extent(picture, name)
            upright = _rgb(ImageOps.exif_transpose(picture), picture.format)
    except InvalidInput:
        raise
    except Image.DecompressionBombError as error:
        raise InvalidInput(f"{name} is too large: {error}; {_SHRINK}") from error
    # Decoders meet broken bytes with almost any error: SyntaxError, struct.error, IndexError.
    except Exception as error:
        raise InvalidInput(
            f"{name} cannot be read as an image ({reason(error)}); replace the file or remove it"
        ) from error
    return fit(upright, size, keep)


@contextmanager
def strictly() -> Iterator[None]:
    """Broken EXIF data is an error: Pillow would go on without the orientation that it could not read."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        # What is too large is refused, in one line.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("error", "(?i).*(corrupt|truncated)", UserWarning)
        yield


def fit(picture: Image.Image, size: Size | None, keep: float = 1.0) -> Tensor:
    """Crops an RGB picture about its center and resizes it (bicubic).

    Args:
        picture: 8-bit RGB.
        size: height and width of the result; None keeps the picture as it is.
        keep: how much of the largest centered box of the result's aspect ratio is kept, in (0, 1]:
            for a square result, the share of the short side.

    Returns:
        Pixels ``[3, H, W]`` in [0, 1].

    Raises:
        InvalidInput: ``size`` or ``keep`` is out of range.
    """
    if not 0 < keep <= 1:
        raise InvalidInput(f"keep={keep:g} is outside (0, 1]; write 1 for the whole short side")
    if size is not None:
        if min(size) < 1:
            raise InvalidInput(f"size={size} must be 1 or more each way; write (height, width)")
        height, width = size
        box = _center(picture, width / height, keep)
        picture = picture.resize((width, height), Image.Resampling.BICUBIC, box=box)
    return torch.from_numpy(np.array(picture)).permute(2, 0, 1).contiguous().float() / 255


_BROKEN: Final = "it ends early or is no such file"


def reason(error: Exception) -> str:
    """What an error says, short and without the path that the message around it names."""
    if isinstance(error, UnidentifiedImageError):
        return "it is empty or no image of a known kind"
    said = " ".join(str(getattr(error, "strerror", None) or error).split())
    # A KeyError says its key alone, an EOFError nothing.
    if isinstance(error, LookupError) or not any(letter.isalpha() for letter in said):
        return f"{_BROKEN}{f' at {said}' if said else ''}"
    return said


def refuse_irregular(path: Path) -> None:
    """Refuses pipes, devices and the like, of which a read might never end; nothing is opened.

    Raises:
        InvalidInput: something is there that is no regular file and no folder.
    """
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InvalidInput(f"{path} is no regular file, and reading it might never end; take it away")


def _check_extent(picture: Image.Image, name: str) -> None:
    width, height = picture.size
    if not width * height:
        raise InvalidInput(f"{name} is {width}x{height}, without a pixel; replace the file or remove it")
    if width * height > MAX_PIXELS:
        megapixels = width * height / 1e6
        raise InvalidInput(f"{name} is {width}x{height}, {megapixels:.1f} megapixels; {_SHRINK}")


def _rgb(picture: Image.Image, kind: str | None) -> Image.Image:
    """8-bit RGB of any mode; Pillow alone would clip 16-bit gray at 255 instead of scaling it."""
    if picture.mode.startswith("I;16") or (picture.mode == "I" and kind in _GRAY_16):
        gray = np.asarray(picture).astype(np.float64) / 65535
        picture = Image.fromarray((gray * 255).round().astype(np.uint8))
    if picture.mode in ("I", "F"):
        raise ValueError("its pixels are 32-bit numbers without a known range")
    if picture.has_transparency_data:
        front = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", front.size, "white"), front)
    return picture.convert("RGB")


def _center(picture: Image.Image, aspect: float, keep: float) -> tuple[float, float, float, float]:
    """The centered box of an aspect ratio (width over height): left, top, right, bottom."""
    height = keep * min(picture.height, picture.width / aspect)
    width = min(height * aspect, picture.width)
    left, top = (picture.width - width) / 2, (picture.height - height) / 2
    # The far edges by symmetry: rounding cannot put them outside the picture.
    return left, top, picture.width - left, picture.height - top


def extra(module: str, name: str, why: str) -> Any:
    """The module, which comes with the extra ``name``.

    Raises:
        InvalidInput: the extra is not installed; ``why`` says what needs it.
    """
    try:
        return importlib.import_module(module)
    # A binding without the library that it binds raises OSError.
    except (ImportError, OSError) as error:
        raise InvalidInput(f'{why} needs {module}; run: pip install "secondlook[{name}]"') from error
