"""Models whose spatial features are known, and images of one spot."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from secondlook.models.base import Embedder
from secondlook.scenes.models.layers import Block
from tests import tiny


class Window(Embedder):
    """Averages 4×4 pixels at each of its places, and then all places: colors, seen linearly."""

    name = "window"

    def __init__(self) -> None:
        self.look = nn.Conv2d(3, 3, 4, 4, bias=False)
        with torch.no_grad():
            self.look.weight.copy_(torch.eye(3)[:, :, None, None].expand(3, 3, 4, 4) / 16)
        self.modules = (self.look.requires_grad_(False),)

    def encode_image(self, x: Tensor) -> Tensor:
        return self.look(x).mean((2, 3))

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return torch.tensor([tiny.AXES[text.split()[-1]] for text in texts], dtype=torch.float32)


class Tokens(Window):
    """A transformer over 16 patches, behind a mark that is all it reads in the end."""

    name = "tokens"

    def __init__(self, swapped: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.rise = nn.Linear(3, 16)
            self.blocks, self.norm = (nn.ModuleList([Block(16, 2) for _ in range(2)]), nn.LayerNorm(16))
            self.head = nn.Linear(16, 3)
        self.modules = (*self.modules, self.rise, self.blocks, self.norm, self.head)

    def encode_image(self, x: Tensor) -> Tensor:
        patches = self.rise(self.look(x).flatten(2).transpose(1, 2))
        tokens = torch.cat([torch.zeros_like(patches[:, :1]), patches], 1)
        for block in self.blocks:
            tokens = block(tokens)
        out: Tensor = self.head(self.norm(tokens[:, 0]))
        return out


def spot(row: int, column: int, side: int = 16, n: int = 1) -> Tensor:
    """A dark image with one bright red place of 4×4 pixels."""
    x = torch.full((n, 3, side, side), 0.02)
    x[:, 0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 1
    return x


RED = torch.tensor([[1.0, 0, 0]])
