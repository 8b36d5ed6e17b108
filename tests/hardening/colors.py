"""An embedder of colors with weights of its own: ``python:tests.hardening.colors:factory``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from secondlook.models.base import Embedder
from tests.tiny import AXES, GREY, SIDE


class Colors(Embedder):
    """The mean color, away from gray, through a matrix that can be learnt."""

    size = (SIDE, SIDE)
    prompt = "{}"

    def __init__(self) -> None:
        self.name, self.network = "tiny:colors", nn.Linear(3, 3, bias=False)
        with torch.no_grad():
            self.network.weight.copy_(torch.eye(3))
        self.modules = (self.network,)

    def encode_image(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(x.flatten(2).mean(2) - GREY)
        return out

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([AXES[text.split()[-1]] for text in texts], dtype=torch.float32)


def factory() -> Colors:
    with torch.random.fork_rng(devices=[]):
        return Colors()
