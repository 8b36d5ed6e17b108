"""JPEG: Pillow's codec where it decides, and a soft copy of it where it is differentiated.

The soft codec is libjpeg's baseline path in floats: luma and chroma (ITU-T T.871), chroma at half
the size, the cosine transform of 8 × 8 blocks, quantization by the tables of ITU-T T.81, annex K,
and the way back with libjpeg's triangle filter. It rounds what the encoder rounds, but not what the
decoder does. For the gradient, quantization rounds in smooth steps, and what is rounded away before
it counts as a constant.
"""

from __future__ import annotations

import io
import math
from functools import lru_cache
from typing import Final, Literal, NamedTuple, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.models.purifiers.soft import SoftPurifier, rounded, soft_rounded, straight_through
from secondlook.randomness import Keys

Subsampling = Literal["4:2:0", "4:4:4"]
"""Chroma at half the height and width, as Pillow writes by default, or at the full size."""

Table = tuple[tuple[int, ...], ...]

_LUMA: Final[Table] = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
"""Table K.1: vertical frequency down, horizontal across."""
_CHROMA: Final[Table] = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)
"""Table K.2."""
_TO_YCC: Final = ((0.299, 0.587, 0.114), (-0.299 / 1.772, -0.587 / 1.772, 0.5), (0.5, -0.587 / 1.402, -0.114 / 1.402))
_TO_RGB: Final = ((1.0, 0.0, 1.402), (1.0, -0.114 * 1.772 / 0.587, -0.299 * 1.402 / 0.587), (1.0, 1.772, 0.0))


class JpegPurifier(SoftPurifier):
    """JPEG compression, which is deterministic; its gradient is that of :func:`soft_jpeg`.

    Args:
        quality: of Pillow's codec, 1 to 95; its own default is 75.
        subsampling: of the chroma, ``4:2:0`` or ``4:4:4``.

    Raises:
        InvalidInput: another quality or subsampling.
    """

    stochastic = False
    channels = None

    def __init__(self, quality: int = 75, subsampling: Subsampling = "4:2:0") -> None:
        check_quality(quality)
        if subsampling not in get_args(Subsampling):
            raise InvalidInput(f"subsampling={subsampling!r} is none of 4:2:0 and 4:4:4")
        self.quality, self.subsampling = quality, subsampling
        full = "" if subsampling == "4:2:0" else f":{subsampling}"
        self.name = f"jpeg:{quality}{full}"

    def hard(self, x: Tensor, keys: Keys) -> Tensor:
        """Each image compressed by Pillow and read again."""
        return compress(x, self.quality, self.subsampling)

    def soft(self, x: Tensor, keys: Keys) -> Tensor:
        """Each image through the soft codec."""
        return soft_jpeg(x, self.quality, self.subsampling)


def check_quality(quality: int, field: str = "quality") -> None:
    """Refuses a quality that Pillow does not have.

    Raises:
        InvalidInput: it is outside 1 to 95.
    """
    if not 1 <= quality <= 95:
        raise InvalidInput(f"{field}={quality} is outside 1 to 95; Pillow's default is 75")


# --- Pillow's codec ------------------------------------------------------------------------------


def compress(x: Tensor, quality: int, subsampling: Subsampling = "4:2:0") -> Tensor:
    """Each image after JPEG by Pillow, off the graph.

    Args:
        x: ``[B, 3, H, W]``, or ``[B, 1, H, W]`` for gray, in [0, 1].
        quality: 1 to 95.
        subsampling: of the chroma.

    Raises:
        InvalidInput: another number of channels.
    """
    _check_channels(x)
    pixels = (x.detach() * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).cpu().numpy()
    out = np.empty_like(pixels)
    for row, image in enumerate(pixels):
        out[row] = _there_and_back(image, quality, subsampling)
    return torch.from_numpy(out).permute(0, 3, 1, 2).to(x) / 255


def _there_and_back(image: NDArray[np.uint8], quality: int, subsampling: Subsampling) -> NDArray[np.uint8]:
    held = io.BytesIO()
    gray = image.shape[2] == 1
    Image.fromarray(image[..., 0] if gray else image).save(
        held, format="JPEG", quality=quality, **({} if gray else {"subsampling": subsampling})
    )
    return np.asarray(Image.open(held)).reshape(image.shape)


def _check_channels(x: Tensor) -> None:
    if x.shape[1] not in (1, 3):
        raise InvalidInput(f"JPEG was handed {x.shape[1]} channels; it holds 3, or 1 for gray")


# --- the soft codec ------------------------------------------------------------------------------


def soft_jpeg(x: Tensor, quality: int, subsampling: Subsampling = "4:2:0") -> Tensor:
    """What :func:`compress` gives within one level of 255 in the mean, with a gradient.

    Args:
        x: ``[B, 3, H, W]`` or ``[B, 1, H, W]`` in [0, 1].
        quality: 1 to 95.
        subsampling: of the chroma.

    Returns:
        The images in [0, 1], of the shape of ``x``.

    Raises:
        InvalidInput: another number of channels.
    """
    _check_channels(x)
    levels = 255 * x
    if x.shape[1] == 1:
        return _luma(levels, quality).clamp(0, 255) / 255
    colors = rounded(torch.einsum("kc,bchw->bkhw", x.new_tensor(_TO_YCC), levels))
    decoded = torch.cat([_luma(colors[:, :1], quality), _chroma(colors[:, 1:], quality, subsampling)], 1)
    return torch.einsum("ck,bkhw->bchw", x.new_tensor(_TO_RGB), decoded).clamp(0, 255) / 255


def _luma(luma: Tensor, quality: int) -> Tensor:
    """The luma ``[B, 1, H, W]`` in 0 to 255, there and back."""
    return (_coded(luma - 128, _LUMA, quality) + 128).clamp(0, 255)


def _chroma(chroma: Tensor, quality: int, subsampling: Subsampling) -> Tensor:
    """Both channels ``[B, 2, H, W]`` of chroma, around 0, there and back."""
    if subsampling == "4:4:4":
        return _coded(chroma, _CHROMA, quality).clamp(-128, 127)
    height, width = chroma.shape[-2:]
    # To the right libjpeg repeats pixels; below, of an odd height, the last pair's mean.
    even = F.pad(chroma, (0, -width % 16, 0, height % 2), mode="replicate")
    small = _coded(_halved(even), _CHROMA, quality).clamp(-128, 127)
    small = small[..., : -(-width // 2)]
    # The triangle filter is the bilinear one; what is at most two wide libjpeg only repeats.
    mode = "bilinear" if small.shape[-1] > 2 else "nearest"
    return F.interpolate(small, scale_factor=2, mode=mode)[..., :height, :width]


def _halved(x: Tensor) -> Tensor:
    """Means of 2 × 2, in whole numbers: libjpeg rounds a half up in every second column."""
    mean = F.avg_pool2d(x, 2)
    up = torch.arange(mean.shape[-1], device=x.device) % 2
    return straight_through(mean, (mean.detach() + (1 + up) / 4).floor())


def _coded(x: Tensor, table: Table, quality: int) -> Tensor:
    """Channels ``[B, C, H, W]``, transformed block by block, rounded and transformed back."""
    height, width = x.shape[-2:]
    # libjpeg fills the blocks at the edge with the last column and row.
    x = F.pad(x, (0, -width % 8, 0, -height % 8), mode="replicate")
    book = codebook(table, quality, x.dtype, x.device)
    blocks = x.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4).flatten(4)
    blocks = soft_rounded(blocks @ book.analysis) @ book.synthesis
    coded: Tensor = blocks.unflatten(4, (8, 8)).transpose(3, 4).reshape(x.shape)
    return coded[..., :height, :width]


class Codebook(NamedTuple):
    """The cosine transform of 64 pixels in a row, in units of the quantization's steps.

    Attributes:
        analysis: ``[64, 64]``, pixels to coefficients.
        synthesis: ``[64, 64]``, and back.
    """

    analysis: Tensor
    synthesis: Tensor


@lru_cache(maxsize=64)
def codebook(table: Table, quality: int, dtype: torch.dtype, device: torch.device) -> Codebook:
    """The transform of a table at a quality."""
    steps = quantization(table, quality).flatten().double()
    order, at = torch.arange(8, dtype=torch.float64)[:, None], torch.arange(8, dtype=torch.float64)
    cosines = torch.cos((2 * at + 1) * order * math.pi / 16) / 2
    cosines[0] = math.sqrt(1 / 8)
    both = torch.kron(cosines, cosines)
    analysis, synthesis = (both / steps[:, None]).T, both * steps[:, None]
    return Codebook(analysis.to(device, dtype), synthesis.to(device, dtype))


def quantization(table: Table, quality: int) -> Tensor:
    """A table of annex K at a quality, ``[8, 8]`` whole numbers in 1 to 255, as libjpeg scales it."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((torch.tensor(table) * scale + 50) // 100).clamp(1, 255)
