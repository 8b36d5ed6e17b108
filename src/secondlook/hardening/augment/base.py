"""What rewrites captions or repaints images, by the key of each sample."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from torch import Tensor

from secondlook.randomness import Keys

Rewrite = Callable[[Sequence[str], Keys], list[str]]
"""Captions to others of the same meaning, as many; one key each."""
Repaint = Callable[[Tensor, Keys], Tensor]
"""Images ``[B, 3, H, W]`` in [0, 1] to others of the same content; one key each."""


def generators(keys: Keys) -> Iterator[np.random.Generator]:
    """A generator of its own for each sample."""
    return (np.random.Generator(np.random.Philox(key=word)) for word in keys.words)
