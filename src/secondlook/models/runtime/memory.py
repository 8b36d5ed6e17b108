"""Batches that do not fit into memory: they are halved until they do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from secondlook.errors import InvalidInput

T = TypeVar("T")
# What the allocator of the CPU says is a RuntimeError like any other.
_SAID = ("DefaultCPUAllocator", "out of memory")


def halving(act: Callable[[slice], T], count: int) -> tuple[list[T], int]:
    """``act`` on all of ``count`` samples, or on parts of them that fit into memory.

    Args:
        act: does the samples of a slice, each of them whoever is beside it.
        count: how many there are.

    Returns:
        What it made of each part, in order; and how many samples a part has.

    Raises:
        InvalidInput: not even one sample fits.

    Example:
        >>> halving(lambda rows: rows.stop, 5)
        ([5], 5)
    """
    made: list[T] = []
    start, size = 0, max(count, 1)
    while start < max(count, 1):
        try:
            made.append(act(slice(start, min(start + size, count))))
            start += size
            continue
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if size == 1:
                raise InvalidInput(
                    "one image alone does not fit into memory; take a smaller network, or write "
                    "checkpoint=true or dtype=bf16 behind its name, as hf:FOLDER?checkpoint=true"
                ) from error
        # Outside of the handler, whose traceback holds the tensors of the attempt.
        size = (size + 1) // 2
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
    return made, size


def out_of_memory(error: Exception) -> bool:
    """Whether it tells of too little memory."""
    known = isinstance(error, MemoryError | torch.OutOfMemoryError)
    return known or any(words in str(error) for words in _SAID)
