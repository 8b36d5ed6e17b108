"""Labels in whatever form they are given, as the classes that the package computes with."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from secondlook.errors import InvalidInput


def labels(y: object, count: int | None = None, classes: int | None = None, field: str = "y") -> Tensor:
    """Classes as int64 ``[B]``, from any integral dtype, ``[B, 1]`` or one-hot ``[B, K]``.

    Args:
        y: a tensor, an array or a list.
        count: B, how many there must be; None takes any number.
        classes: K, how many classes there are; None takes any label.
        field: how the caller calls it, for messages.

    Raises:
        InvalidInput: it is something else; the message says what to write.

    Example:
        >>> labels([[0, 1], [1, 0]], 2)
        tensor([1, 0])
    """
    given = tensor(y, field).detach()
    if given.dtype != torch.int64 or given.dim() != 1:
        given = _plain(given, field)
    if count is not None and len(given) != count:
        raise InvalidInput(f"{field} has {len(given)} labels for {count} images; give one for each")
    if classes is not None and len(wrong := given[(given < 0) | (given >= classes)]):
        raise InvalidInput(
            f"{field} holds {int(wrong[0])} and the model has {classes} classes; labels count from 0 to {classes - 1}"
        )
    return given


def tensor(value: object, field: str) -> Tensor:
    """A tensor, array or nested list of numbers as a tensor.

    Raises:
        InvalidInput: it is none of them.
    """
    if isinstance(value, Tensor):
        if value.layout != torch.strided:
            raise InvalidInput(f"{field} is no dense tensor; write {field}.to_dense()")
        return value
    if isinstance(value, np.ma.MaskedArray):
        raise InvalidInput(f"{field} is a masked array; write {field}.filled(...), what stands where nothing is")
    try:
        array = np.asarray(value) if isinstance(value, list | tuple | np.generic) else value
        if isinstance(array, np.ndarray) and array.dtype.kind in "fiub":
            return torch.tensor(np.ascontiguousarray(array, array.dtype.newbyteorder("=")))
    except (TypeError, ValueError, RuntimeError):
        array = value
    what = f"an array of {array.dtype}" if isinstance(array, np.ndarray) else type(value).__name__
    raise InvalidInput(f"{field} is {what}; give a torch tensor or a NumPy array of numbers")


def kind(value: Tensor) -> str:
    """The dtype as NumPy calls it, for messages."""
    return str(value.dtype).removeprefix("torch.")


def _plain(given: Tensor, field: str) -> Tensor:
    """Labels of another dtype or shape as int64 ``[B]``."""
    shape = tuple(given.shape)
    if given.dim() == 2:
        given = given[:, 0] if shape[1] == 1 else _hot(given, field)
    if given.dim() != 1:
        raise InvalidInput(f"{field} has shape {shape}; labels are [B], one class for each image")
    if given.dtype == torch.bool or given.is_complex():
        raise InvalidInput(f"{field} is {kind(given)}, no classes; write them as integers")
    whole = given.long()
    if given.is_floating_point() and bool((odd := whole.to(given.dtype) != given).any()):
        raise InvalidInput(f"{field} holds {float(given[odd][0]):g}, no class; labels are whole numbers from 0")
    return whole


def _hot(given: Tensor, field: str) -> Tensor:
    """The classes of one-hot rows ``[B, K]``.

    Raises:
        InvalidInput: a row is anything but a single 1 among zeros.
    """
    numbers = given.to(torch.float64)
    if bool(((numbers != 0) & (numbers != 1)).any()) or bool((numbers.sum(1) != 1).any()):
        raise InvalidInput(
            f"{field} has shape {tuple(given.shape)} and is not one-hot; "
            f"labels are classes [B], write {field}.argmax(1)"
        )
    return numbers.argmax(1)
