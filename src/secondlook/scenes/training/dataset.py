"""A training set of scenes in memory: pixels, captions and titles as token ids."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from secondlook.progress import Tick
from secondlook.scenes.sampling import Split
from secondlook.scenes.source import SceneBatch, render_batch
from secondlook.scenes.tokenizer import Tokenizer

_CHUNK = 500


@dataclass(frozen=True, kw_only=True)
class SceneSet:
    """Rendered scenes.

    Attributes:
        pixels: ``[n, 3, 64, 64]`` uint8.
        captions: token ids ``[n, 5, L]``.
        labels: color × shape of the main object, ``[n]``.
        seed: names the world that they are of.
        split: the part of it whose first scenes they are.
    """

    pixels: Tensor
    captions: Tensor
    labels: Tensor
    seed: int = 0
    split: Split = "train"

    def __len__(self) -> int:
        return len(self.pixels)

    def images(self, rows: Tensor) -> Tensor:
        """Pixels of ``rows`` in [0, 1], in the layout that convolutions are fastest in."""
        return (self.pixels[rows].float() / 255).contiguous(memory_format=torch.channels_last)


def _chunk(job: tuple[int, Split, int, int]) -> SceneBatch:
    seed, split, first, last = job
    return render_batch(seed, split, range(first, last))


def render_scenes(seed: int, split: Split, n: int, workers: int, tick: Tick) -> SceneSet:
    """Renders the first ``n`` scenes of a split on ``workers`` processes."""
    jobs = [(seed, split, i, min(i + _CHUNK, n)) for i in range(0, n, _CHUNK)]
    tokenizer = Tokenizer()
    pixels: list[NDArray[np.uint8]] = []
    captions: list[NDArray[np.int64]] = []
    labels: list[NDArray[np.int64]] = []
    with ProcessPoolExecutor(workers) as pool:
        for done, part in enumerate(pool.map(_chunk, jobs), start=1):
            pixels.append(part.images)
            flat = [text for five in part.captions for text in five]
            captions.append(tokenizer.encode(flat).reshape(len(part.labels), 5, -1))
            labels.append(part.labels)
            tick(done, len(jobs), "rendering scenes")
    return SceneSet(
        pixels=torch.from_numpy(np.concatenate(pixels)).permute(0, 3, 1, 2).contiguous(),
        captions=torch.from_numpy(np.concatenate(captions)),
        labels=torch.from_numpy(np.concatenate(labels)),
        seed=seed,
        split=split,
    )
