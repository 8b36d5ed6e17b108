"""An embedder of a few numbers, and data of which it is known what is robust in it and what is not.

Each image is gray with two signals: channel 0 is moved far, and says the class most of the time;
channel 1 is moved by one level, and always says it. An attack of four levels reverses the second
and cannot reverse the first. Dim is dark and pale is bright, which the embedder has exchanged.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from secondlook.hardening.dataset import Batch, Dataset
from secondlook.models.base import Embedder
from secondlook.randomness import Keys

SIDE = 4
FAR, NEAR = 20 / 255, 1 / 255
CLASSES = ("dark", "bright")
WORDS = ("dark", "bright", "a", "thing", "one", "two", "dim", "pale")


class Towers(nn.Module):
    """A linear image tower with a statistic of its own, and a text tower of word vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(3)
        self.image = nn.Linear(3, 2, bias=False)
        self.words = nn.Embedding(len(WORDS), 2)
        self.log_scale = nn.Parameter(torch.tensor(2.0))
        with torch.no_grad():
            self.image.weight.copy_(torch.tensor([[2.0, 8.0, 0.0], [0.3, -0.2, 0.1]]))
            self.words.weight.copy_(
                torch.tensor(
                    [[-3.0, 0.1], [3.0, 0.2], [0.1, 0.2], [0.0, 0.1], [0.2, 0.9], [0.1, -0.9], [0.8, 0.3], [-0.8, 0.2]]
                )
            )


class ToyEmbedder(Embedder):
    """An embedder over :class:`Towers`."""

    size = (SIDE, SIDE)
    prompt = "a {} thing"

    def __init__(self) -> None:
        self.name, self.network = "toy:embedder", Towers()
        self.modules = (self.network,)

    def encode_image(self, x: Tensor) -> Tensor:
        out: Tensor = self.network.image(self.network.norm(x.flatten(2).mean(2) - 0.5))
        return out

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        rows = [
            self.network.words(torch.tensor([WORDS.index(w) for w in t.split() if w in WORDS])).sum(0) for t in texts
        ]
        return torch.stack(rows)


class ToyDataset(Dataset):
    """``count`` images of the two classes, with two captions each."""

    classes = CLASSES
    prompt = "a {} thing"
    has_captions = True

    def __init__(self, count: int, first: int = 0) -> None:
        self.ids = tuple(f"yard-{first + row}" for row in range(count))
        self.description, self.hash = f"{count} images of the data", str((count, first))
        keys = Keys.of(0, self.ids)
        self.truth = torch.tensor([row % 2 for row in range(count)])
        sign = (2 * self.truth - 1).float()
        liar = (keys.fold("liar").uniform((1,)).flatten() < 0.1).float()
        move = torch.stack([sign * (1 - 2 * liar) * FAR, sign * NEAR, torch.zeros(count)], 1)
        self.images = 0.5 + move[:, :, None, None].expand(-1, -1, SIDE, SIDE)
        self.images = (self.images * 255).round() / 255

    def read(self, rows: Sequence[int]) -> Batch:
        at = torch.tensor(list(rows))
        names = [CLASSES[int(each)] for each in self.truth[at]]
        captions = tuple((f"one {name} thing", f"two {name} thing") for name in names)
        return Batch(tuple(self.ids[row] for row in rows), self.images[at], self.truth[at], captions)


def toy_embedder() -> ToyEmbedder:
    """A fresh embedder with the statistics of the data, which relies on the small signal."""
    with torch.random.fork_rng(devices=[]):
        fresh = ToyEmbedder()
    means = ToyDataset(200).images.mean((2, 3)) - 0.5
    fresh.network.norm.running_mean.copy_(means.mean(0))
    fresh.network.norm.running_var.copy_(means.var(0).clamp_min(1e-6))
    fresh.network.eval().requires_grad_(False)
    return fresh


def factory() -> ToyEmbedder:
    """For ``python:tests.hardening.toy:factory``."""
    return toy_embedder()


def away(x: Tensor, clean: Tensor) -> Tensor:
    """The largest change of each image, ``[B]``."""
    return (x - clean).abs().amax((1, 2, 3))
