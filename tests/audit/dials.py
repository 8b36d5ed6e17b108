"""A world to search in closed form: an image is one color, and a caption names its channels.

``dial`` reads an image as the distance of its mean color from gray, and a caption as its three
numbers, in 255ths; whatever is attacked, who is found can be reckoned by hand.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from secondlook.attacks.base import Trace
from secondlook.attacks.pairs import AlteredPairs, PairAttack, Pairs, Touches
from secondlook.data.base import Family
from secondlook.models.base import Embedder, Matcher
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat
from tests.audit.mortal import Mortal
from tests.audit.solid import Solid

GREY = 128
PHRASINGS = ("red {} green {} blue {}", "it has red {} and green {} and blue {}")


class Dial(Embedder):
    """Images by their mean color, captions by their numbers, both as seen from gray."""

    def __init__(self, name: str, tilt: float = 0.0) -> None:
        self.name, self.tilt = name, tilt

    def encode_image(self, x: Tensor) -> Tensor:
        away = x.flatten(2).mean(2) - GREY / 255
        return away + self.tilt * away.roll(1, 1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([numbers(text) for text in texts]) - GREY / 255


class MatchingDial(Dial, Matcher):
    """One that looks again, and then finds the pair likeliest whose colors are nearest."""

    def encode_pairs(self, x: Tensor, texts: Sequence[str], pairs: Tensor) -> Tensor:
        near = -(self.encode_image(x)[pairs[:, 0]] - self.encode_text(texts)[pairs[:, 1]]).norm(dim=1)
        return torch.stack([-near, near], dim=1)


def dial() -> Dial:
    return Dial("tiny:dial")


def tilted() -> Dial:
    return Dial("tiny:tilted", tilt=0.3)


def matching() -> MatchingDial:
    return MatchingDial("tiny:matching")


def numbers(text: str) -> list[float]:
    """The three channels that a caption names, in [0, 1]."""
    return [int(word) / 255 for word in text.split() if word.isdigit()]


class Colors(Solid):
    """Images of one color each, by its name; two captions each, and one that two images share."""

    def __init__(self, count: int) -> None:
        draw = random.Random(7)
        self.colors = [tuple(draw.randrange(40, 216) for _ in range(3)) for _ in range(count)]
        self.ids = tuple(f"color-{row}" for row in range(count))
        own = [[manner.format(*color) for manner in PHRASINGS] for color in self.colors]
        own[1].append(own[0][0].upper())
        self.texts = tuple(text for texts in own for text in texts)
        self.owner = tuple(row for row, texts in enumerate(own) for _ in texts)


@dataclass(frozen=True, kw_only=True)
class Dials(Family):
    """``dials:N``: N colors."""

    def load(self) -> Colors:
        return Colors(int(self.name))


@dataclass(frozen=True, kw_only=True)
class Swap(PairAttack):
    """Moves an image towards gray and past it, and turns a caption's first number about."""

    touches: ClassVar[Touches] = "both"

    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        Mortal.count(len(pairs.images))
        seen = torch.stack([victim.embed(pairs.images) for victim in victims]).sum(0)
        images = pairs.images - threat.eps * seen.sign()[:, :, None, None]
        loss = -(victims[0].embed(threat.project(images, pairs.images)) * seen).sum(1)
        flat = torch.zeros_like(loss)
        trace = Trace(
            first_loss=-seen.norm(dim=1),
            middle_loss=loss,
            last_loss=loss,
            zero_gradient=flat,
            bad_gradient=flat,
            steps=flat + 2,
        )
        return AlteredPairs(images, tuple(map(turned, pairs.captions)), trace)


@dataclass(frozen=True, kw_only=True)
class Turn(PairAttack):
    """Turns captions alone."""

    touches: ClassVar[Touches] = "captions"

    def search(self, victims: Sequence[Embedder], pairs: Pairs, threat: Threat, keys: Keys) -> AlteredPairs:
        return AlteredPairs(pairs.images, tuple(map(turned, pairs.captions)))


def turned(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The captions with the first number on the other side of gray."""
    return tuple(map(_turned, texts))


def _turned(text: str) -> str:
    words = text.split()
    at = next(at for at, word in enumerate(words) if word.isdigit())
    return " ".join([*words[:at], str(2 * GREY - int(words[at])), *words[at + 1 :]])


def enter() -> None:
    """Puts this world into the registry."""
    register("data", "dials")(Dials)
    register("pair attack", "swap")(Swap)
    register("pair attack", "turn")(Turn)
