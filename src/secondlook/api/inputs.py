"""Arrays of the user as the tensors that the package computes with, and the way back."""

from __future__ import annotations

import reprlib
from numbers import Real
from typing import Any, TypeVar

import torch
from numpy.typing import NDArray
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.labels import kind, tensor
from secondlook.models.base import check_pixels
from secondlook.signals import IMAGE, SOUND, Signal
from secondlook.threat import fraction

Array = TypeVar("Array", Tensor, NDArray[Any])
"""A torch tensor or a NumPy array; what comes out is of the same kind as what went in."""

_CHANNELS = (1, 3, 4)
"""What a last dimension of this size most often is: the channels of ``[B, H, W, C]``."""


SHORTEST = 32
"""Samples of the shortest sound: a matrix that is narrower was not meant as one."""


def pixels(x: object, field: str = "x") -> Tensor:
    """A batch of images as a tensor ``[B, C, H, W]`` of its own memory, in fp32 or fp64.

    Args:
        x: a torch tensor or NumPy array in [0, 1], with any number of channels.
        field: how the caller calls it, for messages.

    Raises:
        InvalidInput: it is something else; the message says what to write.
    """
    if isinstance(x, list | tuple):
        stack = "torch.stack" if any(isinstance(each, Tensor) for each in x) else "np.stack"
        raise InvalidInput(f"{field} is a {type(x).__name__}; write {stack}({field})")
    batch = tensor(x, field).detach()
    shape = tuple(batch.shape)
    if batch.dim() == 3 and shape[1] == 1 < shape[2]:
        raise InvalidInput(
            f"{field} has shape {shape}; sounds are [B, T], write {field}[:, 0]; images are [B, C, H, W]"
        )
    if batch.dim() == 3:
        raise InvalidInput(f"{field} has shape {shape}; a single image is a batch of one: {field}[None]")
    if batch.dim() != 4:
        raise InvalidInput(f"{field} has shape {shape}; images are [B, C, H, W]")
    if not len(batch):
        raise InvalidInput(f"{field} has shape {shape}, a batch of nothing; give one image or more")
    if not batch.numel():
        raise InvalidInput(f"{field} has shape {shape}, images without pixels; look how it is made")
    if shape[3] in _CHANNELS and shape[1] not in _CHANNELS:
        swap = "permute" if isinstance(x, Tensor) else "transpose"
        raise InvalidInput(f"{field} has shape {shape}, which is [B, H, W, C]; write {field}.{swap}(0, 3, 1, 2)")
    if not batch.is_floating_point():
        raise InvalidInput(f"{field} is {kind(batch)}; pixels are floats in [0, 1], write {field} / 255")
    if batch.dtype not in (torch.float32, torch.float64):
        cast = f"{field}.float()" if isinstance(x, Tensor) else f'{field}.astype("float32")'
        raise InvalidInput(f"{field} is {kind(batch)}, too coarse for a small change of a pixel; write {cast}")
    if batch.is_meta:
        raise InvalidInput(f"{field} is on the device meta, which holds no pixels")
    check_pixels(batch, field, channels=None)
    return batch.clone()


def sounds(x: Any, field: str = "x") -> Tensor:
    """A batch of sounds as a tensor ``[B, T]`` of its own memory, in fp32 or fp64.

    Args:
        x: a torch tensor or NumPy array ``[B, T]`` in [-1, 1].
        field: how the caller calls it, for messages.

    Raises:
        InvalidInput: it is something else; the message says what to write.
    """
    batch = tensor(x, field).detach()
    shape = tuple(batch.shape)
    if batch.dim() != 2:
        raise InvalidInput(f"{field} has shape {shape}; sounds are [B, T], one channel each: average the others")
    if not batch.numel():
        raise InvalidInput(f"{field} has shape {shape}, no samples of sound; look how it is made")
    if shape[1] < SHORTEST:
        raise InvalidInput(f"{field} has shape {shape}; images are [B, C, H, W], sounds [B, T] from T = {SHORTEST}")
    if not batch.is_floating_point():
        raise InvalidInput(f"{field} is {kind(batch)}; sounds are floats in [-1, 1], write {field} / 32768")
    if batch.dtype not in (torch.float32, torch.float64):
        cast = f"{field}.float()" if isinstance(x, Tensor) else f'{field}.astype("float32")'
        raise InvalidInput(f"{field} is {kind(batch)}, too coarse for a small change of a sample; write {cast}")
    if not bool(batch.isfinite().all()):
        raise InvalidInput(f"{field} has NaN or infinite samples; find what made them")
    if (peak := float(batch.abs().max())) > 1:
        raise InvalidInput(f"{field} reaches {peak:g}, and full scale is 1; write {field} / 32768, or cut it")
    return batch.clone()


def signal_of(x: object) -> Signal:
    """What kind of input a batch is by its shape: sounds are ``[B, T]``, all else is taken for images."""
    return SOUND if len(getattr(x, "shape", ())) == 2 else IMAGE


def carried(x: object, kind_of: Signal) -> Tensor:
    """A batch as the package carries it, ``[B, C, H, W]`` in [0, 1].

    Raises:
        InvalidInput: it is no batch of this kind.
    """
    return kind_of.carried(sounds(x)) if kind_of is SOUND else pixels(x)


def radius(eps: object) -> float:
    """A length in pixel units, from a number or from ``8/255``.

    Raises:
        InvalidInput: it is neither.
    """
    if isinstance(eps, bool):
        raise InvalidInput(f"eps={eps} is not a number; write 8/255")
    try:
        return float(eps) if isinstance(eps, Real) else fraction(str(eps))
    except (InvalidInput, OverflowError):
        raise InvalidInput(f"eps={reprlib.repr(eps)} is not a number; write 8/255") from None


def back(value: Tensor, like: Array) -> Array:
    """``value`` as the kind of array that ``like`` is, on its device."""
    if isinstance(like, Tensor):
        return value.detach().to(like.device)
    return value.detach().cpu().numpy()
