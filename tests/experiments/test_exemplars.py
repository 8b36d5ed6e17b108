"""A painter that shows photographs of the class that a text names."""

import numpy as np
import pytest
import torch

from experiments.exemplars import Exemplars, named
from secondlook.data.cifar import Archive
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys

CLASSES = ("cat", "dog", "cat flap")


def archive(truth: list[int]) -> Archive:
    """Pictures of one shade each, ten times their row."""
    shades = np.arange(len(truth), dtype=np.uint8)[:, None, None, None] * 10
    pixels = np.broadcast_to(shades, (len(truth), 4, 4, 3)).copy()
    ids = tuple(f"a-{row}" for row in range(len(truth)))
    return Archive(
        name="a", ids=ids, classes=CLASSES, truth=np.array(truth), prompt="{}", pixels=pixels, offset=None, files=()
    )


def rows_of(painter: Exemplars, texts: list[str], seed: int = 0) -> list[int]:
    """The rows whose photographs were shown."""
    shown = painter.paint(texts, Keys.of(seed, range(len(texts))))
    assert shown.shape == (len(texts), 3, 4, 4)
    return [int(shade) for shade in (shown[:, 0, 0, 0] * 25.5).round()]


def test_a_text_shows_a_photograph_of_the_class_that_it_names() -> None:
    truth = [0, 1, 0, 2, 1, 2, 0]
    painter = Exemplars("exemplars:a", archive(truth), (4, 4))
    found = [truth[row] for row in rows_of(painter, ["a dog", "a photo of a cat.", "a cat flap", "dogged cat"] * 5)]
    assert found == [1, 0, 2, 0] * 5
    drawn = {row for seed in range(20) for row in rows_of(painter, ["a cat"], seed)}
    assert drawn == {0, 2, 6}
    assert len({row for seed in range(40) for row in rows_of(painter, ["nothing known"], seed)}) > 3


def test_a_photograph_depends_on_its_key_alone() -> None:
    painter = Exemplars("exemplars:a", archive([0, 0, 0, 1, 2]), (4, 4))
    keys = Keys.of(3, range(6))
    together = painter.paint(["a cat"] * 6, keys)
    alone = torch.cat([painter.paint(["a cat"], keys[torch.tensor([at])]) for at in range(6)])
    assert torch.equal(together, alone)


def test_a_class_without_photographs_is_refused_and_the_longest_name_counts() -> None:
    with pytest.raises(InvalidInput, match="no photograph of 'cat flap'; leave the class out or add one"):
        Exemplars("exemplars:a", archive([0, 1]), (4, 4))
    assert named("the cat flap", CLASSES) == "cat flap"
    assert named("concatenate", CLASSES) == ""
