"""A painter of the color it is told, and embedders of colors with parameters to put noise on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from secondlook.defenses.guarded import Guarded
from secondlook.defenses.mirrorcheck import MirrorCheck
from secondlook.ledger import tally
from secondlook.models.base import Embedder
from secondlook.models.captioner import Captioner
from secondlook.models.painter import Painter
from secondlook.randomness import Keys
from tests.models.test_captioner import Colors
from tests.tiny import AXES, COLORS, GREY, SIDE


def painted(names: Sequence[str], depth: float = 0.3) -> Tensor:
    """Plain images of colors."""
    axes = torch.tensor([AXES[name] for name in names], dtype=torch.float32)
    return (GREY + depth * axes)[:, :, None, None].expand(-1, 3, SIDE, SIDE)


class Brush(Painter):
    """Paints the last word, with a little grain of its own; counts what it is asked."""

    size, steps, guidance = (SIDE, SIDE), 1, 1.0

    def __init__(self, name: str = "brush", grain: float = 0.02, spoilt: str = "") -> None:
        self.name, self.grain, self.spoilt = name, grain, spoilt
        self.asked: list[str] = []

    def draw(self, texts: Sequence[str], keys: Keys, steps: int, guidance: float) -> Tensor:
        self.asked += texts
        if self.spoilt == "crash":
            raise RuntimeError("out of paint")
        made = painted([text.split()[-1] for text in texts])
        made = tally(self.name, made + self.grain * keys.normal((3, SIDE, SIDE)))
        if self.spoilt:
            spoilt = torch.tensor([self.spoilt in text for text in texts])
            made = made.masked_fill(spoilt[:, None, None, None], float("nan"))
        return made[: len(texts) - (self.spoilt == "short")]

    def truncates(self, text: str) -> bool:
        return len(text.split()) > 5


class FirstWord(Brush):
    """Paints the first word."""

    def draw(self, texts: Sequence[str], keys: Keys, steps: int, guidance: float) -> Tensor:
        return super().draw([text.split()[0] for text in texts], keys, steps, guidance)


class Prism(Embedder):
    """The mean color through a matrix: one that is the unit matrix until it is shaken."""

    prompt = "a {}"

    def __init__(self, name: str, tilt: float = 0.0) -> None:
        self.name = name
        self.layer = nn.utils.skip_init(nn.Linear, 3, 3, bias=False)
        with torch.no_grad():
            self.layer.weight.copy_(torch.eye(3) + tilt * torch.eye(3).roll(1, 1))
        self.layer.requires_grad_(False)
        self.modules = (self.layer,)

    def encode_image(self, x: Tensor) -> Tensor:
        # Row by row and never through a matrix product: a sample is not felt by its neighbors.
        away = x.flatten(2).mean(2) - GREY
        return (away[:, None, :] * self.layer.weight).sum(2)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([AXES[text.split()[-1]] for text in texts], dtype=torch.float32)


def prisms(count: int = 3) -> tuple[Prism, ...]:
    return tuple(Prism(f"prism {number}", 0.3 * number) for number in range(count))


def captions(count: int) -> list[str]:
    return [f"a plain {COLORS[row % len(COLORS)]}" for row in range(count)]


def colors_behind(captioner: Captioner | None = None, **settings: Any) -> Guarded:
    """A captioner of colors, whose captions are painted and compared; nothing is calibrated."""
    given = {"encoders": prisms(), "painters": FirstWord(), "false_rejection": 0, **settings}
    return Guarded(captioner or Colors(), MirrorCheck(**given))
