"""Random draws keyed per sample, so that they do not change with batch size, order or resume."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secondlook.bounds import natural

Label = str | int
Fill = Callable[[np.random.Generator, NDArray[np.float32]], object]

_MIX = np.uint64(0x9E3779B97F4A7C15)


def _word(label: Label) -> np.uint64:
    digest = hashlib.blake2b(repr(label).encode(), digest_size=8).digest()
    return np.uint64(int.from_bytes(digest, "little"))


def _scramble(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64: every input bit reaches every output bit."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


@dataclass(frozen=True, eq=False)
class Keys:
    """One 64-bit key for each sample of a batch.

    A key is never consumed: a new purpose, restart or step is *folded* in and gives new keys.
    Draws are made on the CPU, so that they are the same on every device.

    Example:
        >>> keys = Keys.of(0, ["a.png", "b.png"]).fold("pgd", 3)
        >>> bool((keys[1:].normal((2,)) == keys.normal((2,))[1:]).all())
        True
    """

    words: NDArray[np.uint64]

    @classmethod
    def of(cls, seed: int, ids: Sequence[Label]) -> Keys:
        """Keys for the samples named ``ids`` under ``seed``, a whole number from 0.

        Raises:
            InvalidInput: another seed.
        """
        words = np.array([_word(sample) for sample in ids], dtype=np.uint64)
        return cls(words).fold("seed", natural("seed", seed))

    def fold(self, *labels: Label) -> Keys:
        """New keys, one for each sample, for the purpose that ``labels`` name."""
        words = self.words
        with np.errstate(over="ignore"):
            for label in labels:
                words = _scramble((words + _MIX) ^ _word(label))
        return Keys(words)

    def at(self, moments: Tensor) -> Keys:
        """New keys, one for each sample, for a moment of its own: its step, say, ``[B]`` long."""
        counts = moments.cpu().numpy().astype(np.uint64) + np.uint64(1)
        with np.errstate(over="ignore"):
            return Keys(_scramble(self.words + counts * _MIX))

    def repeat(self, draws: int, first: int = 0) -> Keys:
        """Keys ``[B * draws]``: for each sample its draws ``first, first + 1, …`` in a row."""
        children = [self.fold("draw", first + draw).words for draw in range(draws)]
        return Keys(np.stack(children, axis=1).reshape(-1))

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, rows: slice | Tensor | NDArray[np.int64] | NDArray[np.bool_]) -> Keys:
        if isinstance(rows, Tensor):
            rows = rows.cpu().numpy()
        return Keys(self.words[rows])

    def normal(self, shape: Sequence[int], like: Tensor | None = None) -> Tensor:
        """Standard normal draws ``[B, *shape]`` on the device and in the dtype of ``like``."""
        return self._drawn(lambda rng, row: rng.standard_normal(out=row, dtype=np.float32), shape, like)

    def uniform(self, shape: Sequence[int], like: Tensor | None = None) -> Tensor:
        """Uniform draws in [0, 1), ``[B, *shape]``."""
        return self._drawn(lambda rng, row: rng.random(out=row, dtype=np.float32), shape, like)

    def integers(self, high: int) -> list[int]:
        """One integer in [0, high) for each sample."""
        return [int(word) for word in _scramble(self.words) % np.uint64(high)]

    def order(self) -> list[int]:
        """The positions of the samples in an order that their keys alone decide, ``[B]`` long."""
        return [int(row) for row in np.argsort(self.words, kind="stable")]

    def generators(self) -> Iterator[np.random.Generator]:
        """A generator for each sample."""
        return (np.random.Generator(np.random.Philox(key=word)) for word in self.words)

    def _drawn(self, fill: Fill, shape: Sequence[int], like: Tensor | None) -> Tensor:
        rows = np.empty((len(self), *shape), dtype=np.float32)
        for row, generator in zip(rows, self.generators(), strict=True):
            fill(generator, row)
        out = torch.from_numpy(rows)
        return out if like is None else out.to(like)
