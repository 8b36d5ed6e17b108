"""Hands out scenes in batches: pictures, captions and labels."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from secondlook.scenes.captions import Captions, captions
from secondlook.scenes.renderer import render
from secondlook.scenes.sampling import Split, sample
from secondlook.scenes.world import SIDE


class Batch(NamedTuple):
    """Scenes side by side.

    Attributes:
        images: ``[n, 64, 64, 3]``, RGB in 0 to 255.
        captions: Five sentences for each image.
        labels: ``[n]``, the class of the main thing in [0, 64).
    """

    images: NDArray[np.uint8]
    captions: list[Captions]
    labels: NDArray[np.int64]


def batch(seed: int, split: Split, indices: Iterable[int]) -> Batch:
    """Render the scenes at ``indices`` of a split.

    Args:
        seed: Names the world, at least 0.
        split: Which part of the world.
        indices: Which scenes, in the order wanted.

    Returns:
        The batch; an empty one where there are no indices.

    Raises:
        SecondlookError: As ``sample`` raises it.
    """
    scenes = [sample(seed, split, int(index)) for index in indices]
    images = np.empty((len(scenes), SIDE, SIDE, 3), dtype=np.uint8)
    for row, scene in enumerate(scenes):
        images[row] = render(scene)
    labels = np.array([scene.label for scene in scenes], dtype=np.int64)
    return Batch(images, [captions(scene) for scene in scenes], labels)
