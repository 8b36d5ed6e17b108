"""A world of single images in closed form: one color each to be told, two spots to point at.

``teller`` says the color whose channel is the brightest, so that the best image within an L∞ ball
is a corner of it; ``window`` finds a color where it is.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from secondlook.attacks.base import AttackResult, Objective
from secondlook.attacks.pairs import AlteredPairs, PairAttack, Pairs, Touches
from secondlook.attacks.pgd import PGD
from secondlook.data.base import Family
from secondlook.data.images import write_png
from secondlook.models.base import Embedder, Purifier
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat
from tests.audit.mortal import Mortal
from tests.audit.solid import Solid
from tests.defenses.mirror_models import Brush, Prism
from tests.models.spots import Tokens, Window
from tests.models.test_captioner import Colors

NAMES = ("red", "green", "blue")


class Shades(Solid):
    """Images of one color each, whose brightest channel leads by much or by little."""

    def __init__(self, count: int, kind: str = "shade") -> None:
        draw = random.Random(3 if kind == "shade" else 4)
        self.ids = tuple(f"{kind}-{row}" for row in range(count))
        self.colors = []
        for row in range(count):
            color = [draw.randrange(20, 115) for _ in NAMES]
            color[row % 3] = 128
            self.colors.append(tuple(color))
        names = [NAMES[row % 3] for row in range(count)]
        own = [(f"{name} again", f"{name} {name} again") for name in names]
        self.texts = tuple(text for texts in own for text in texts)
        self.owner = tuple(row for row, texts in enumerate(own) for _ in texts)


@dataclass(frozen=True, kw_only=True)
class ShadesFamily(Family):
    """``shades:N``: N colors."""

    def load(self) -> Shades:
        return Shades(int(self.name))


@dataclass(frozen=True, kw_only=True)
class TintsFamily(Family):
    """``tints:N``: N others, to calibrate on."""

    def load(self) -> Shades:
        return Shades(int(self.name), "tint")


class First(Brush):
    """Paints the first word."""

    def draw(self, texts: Sequence[str], keys: Keys, steps: int, guidance: float) -> Tensor:
        return super().draw([text.split()[0] for text in texts], keys, steps, guidance)


class Roll(Purifier):
    """Moves every channel on by one: red is seen where green was."""

    stochastic = False

    def __init__(self, name: str, differentiable: bool) -> None:
        self.name, self.differentiable = name, differentiable

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        return x.roll(1, 1)


def teller() -> Colors:
    made = Colors()
    made.name = "tiny:teller"
    return made


def third() -> Colors:
    made = Colors()
    made.name = "tiny:third teller"
    return made


def second() -> Colors:
    made = Colors()
    made.name = "tiny:second"
    return made


class Spectrum(Prism):
    """Reads the first word."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return super().encode_text([text.split()[0] for text in texts])


def prism() -> Spectrum:
    return Spectrum("tiny:prism")


def brush() -> First:
    return First("tiny:brush")


def window() -> Window:
    return Window()


def tokens() -> Tokens:
    return Tokens()


def roll() -> Roll:
    return Roll("tiny:roll", differentiable=True)


def stiff() -> Roll:
    return Roll("tiny:stiff", differentiable=False)


@dataclass(frozen=True, kw_only=True)
class MortalPGD(PGD):
    """PGD whose process dies, see :class:`~tests.audit.mortal.Mortal`."""

    steps: int = 8

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        Mortal.count(len(clean))
        return super().search(objective, clean, threat, keys)


@dataclass(frozen=True, kw_only=True)
class Recolor(PairAttack):
    """Asks for the other color."""

    touches: ClassVar[Touches] = "captions"

    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        other = {"red": "green", "green": "red"}
        texts = [[text.split() for text in several] for several in pairs.captions]
        turned = (tuple(" ".join([*w[:-1], other[w[-1]]]) for w in rows) for rows in texts)
        return AlteredPairs(pairs.images, tuple(turned))


@dataclass(frozen=True, kw_only=True)
class Darken(PairAttack):
    """Takes as much light from every image as it may."""

    touches: ClassVar[Touches] = "images"

    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        return AlteredPairs((pairs.images - threat.eps).clamp(0, 1), pairs.captions)


def enter() -> None:
    """Puts the world into the registry."""
    register("data", "shades")(ShadesFamily)
    register("data", "tints")(TintsFamily)
    register("attack", "mortal")(MortalPGD)
    register("pair attack", "recolor")(Recolor)
    register("pair attack", "darken")(Darken)


def write_spots(folder: Path, count: int) -> Path:
    """``count`` images with a red and a green place of 4×4 pixels, each with a text for one."""
    folder.mkdir(parents=True)
    entries = []
    for number in range(count):
        places = random.Random(number).sample(range(16), 2)
        x = torch.full((3, 16, 16), 0.02)
        for channel, place in enumerate(places):
            row, column = 4 * (place // 4), 4 * (place % 4)
            x[channel, row : row + 4, column : column + 4] = 1
        write_png(folder / f"{number:02d}.png", x)
        color = number % 2
        asked = places[color]
        entries.append(
            {
                "image": f"{number:02d}.png",
                "sentence": f"the spot in {('red', 'green')[color]}",
                "bbox": [4 * (asked % 4), 4 * (asked // 4), 4, 4],
            }
        )
    (folder / "all.json").write_text(json.dumps(entries))
    return folder / "all.json"
