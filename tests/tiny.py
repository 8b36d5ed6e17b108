"""A whole world in a few lines: colors to name, seen by embedders known in closed form.

A study names its models as ``python:tests.tiny:eye``. Scores are exact whatever the batch, since a
class is an axis of the color cube and a sum has one term that is not zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from secondlook.audit.study import Study, parse
from secondlook.data.images import write_png
from secondlook.models.base import Embedder, Purifier
from secondlook.randomness import Keys

COLORS = ("blue", "cyan", "green", "magenta", "red", "yellow")
AXES = {
    "red": (1, 0, 0),
    "green": (0, 1, 0),
    "blue": (0, 0, 1),
    "cyan": (-1, 0, 0),
    "magenta": (0, -1, 0),
    "yellow": (0, 0, -1),
}
SIDE, GREY, TINT = 8, 0.5, 10 / 255


class Compass(Embedder):
    """An image points from gray to its mean color; a word is the axis it names."""

    def __init__(self, name: str, tilt: float = 0.0) -> None:
        self.name, self.tilt = name, tilt

    def encode_image(self, x: Tensor) -> Tensor:
        away = x.flatten(2).mean(2) - GREY
        return away + self.tilt * away.roll(1, 1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([AXES[text.split()[-1]] for text in texts], dtype=torch.float32)


class Shift(Purifier):
    """Moves each channel by up to ``reach``, anew with each draw."""

    name = "tiny:shift"

    def __init__(self, reach: float) -> None:
        self.reach, self.stochastic = reach, reach > 0

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        move = (keys.uniform((3, 1, 1)) * 2 - 1) * self.reach
        return (x + move).clamp(0, 1)

    def with_noise(self, noise: float) -> Shift:
        return Shift(noise)


class Blind(Purifier):
    """Paints everything the same, so that no gradient comes through."""

    name, stochastic = "tiny:blind", False

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        return x * 0 + 0.6


class Speller(Compass):
    """Its words are their letters: it has a vector for each, whatever they mean."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        letters = [[float(text.count(letter)) for letter in "aeo"] for text in texts]
        return torch.tensor(letters) + torch.tensor([[0.1 * len(text)] for text in texts])


def speller() -> Speller:
    return Speller("tiny:speller")


def eye() -> Compass:
    return Compass("tiny:eye")


def twin() -> Compass:
    """Another model under the name of ``eye``."""
    return Compass("tiny:eye", tilt=0.5)


def other() -> Compass:
    return Compass("tiny:other", tilt=0.2)


def third() -> Compass:
    """Another pair of eyes, which see every color turned a little."""
    return Compass("tiny:third", tilt=-0.3)


class Contrary(Compass):
    """Sees the opposite of every color, and so is never right."""

    def encode_image(self, x: Tensor) -> Tensor:
        return -super().encode_image(x)


def contrary() -> Contrary:
    return Contrary("tiny:contrary")


def shift() -> Shift:
    return Shift(10 / 255)


def blind() -> Blind:
    return Blind()


def paint(count: int, seed: int = 0) -> list[tuple[str, Tensor]]:
    """``count`` images ``[3, 8, 8]`` with their colors, grainy and on the 8-bit grid."""
    keys = Keys.of(seed, range(count))
    grain = keys.normal((3, SIDE, SIDE)) * 6 / 255
    names = [COLORS[row % len(COLORS)] for row in range(count)]
    axes = torch.tensor([AXES[name] for name in names])[:, :, None, None]
    pixels = ((GREY + TINT * axes + grain).clamp(0, 1) * 255).round() / 255
    return list(zip(names, pixels, strict=True))


def write_folder(folder: Path, count: int) -> Path:
    """The images of :func:`paint` as PNG files, a sub-folder for each color."""
    for row, (name, image) in enumerate(paint(count)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        write_png(folder / name / f"{row:03d}.png", image)
    return folder


def table(folder: Path, **changes: Any) -> dict[str, Any]:
    """A study of every kind of row over the images in ``folder``, as TOML would give it."""
    plain: dict[str, Any] = {
        "name": "tiny",
        "batch": 12,
        "examples": 5,
        "task": {"data": f"folder:{folder}", "samples": 0},
        "models": ["python:tests.tiny:eye"],
        "surrogates": ["python:tests.tiny:other"],
        "threat": {"eps": ["16/255"]},
        "attack": {"name": "illusion", "steps": 8, "step": 3 / 255},
        "adaptive": {"draws": 8, "steps": 24, "decay": 0.5, "decay_every": 8},
        "defenses": [
            {"name": "undefended"},
            {"name": "consensus", "purifier": "python:tests.tiny:shift", "samples": 5},
        ],
        "knowledge": ["clean", "oblivious", "transfer", "adaptive"],
    }
    return plain | changes


def study(folder: Path, **changes: Any) -> Study:
    """The study of :func:`table`."""
    return parse(table(folder, **changes), "the test")
