"""Models in good health, and the same with one thing broken each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.models.base import Classifier, Embedder, Purifier, check_pixels
from secondlook.models.purifiers.jpeg import compress
from secondlook.models.purifiers.soft import straight_through
from secondlook.randomness import Keys

SIDE = 8
PIXELS = 3 * SIDE * SIDE
CLASSES = ("a", "b", "c", "d", "e")


def net(*layers: nn.Module) -> nn.Module:
    """A small smooth network with fixed weights, frozen and in eval mode."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(PIXELS, 16), nn.Tanh(), *layers, nn.Linear(16, 5))
    for row, parameter in enumerate(network.parameters()):
        parameter.data = Keys.of(0, [row]).normal(parameter.shape)[0] / 8
    return network.eval().requires_grad_(False)


class ToyClassifier(Classifier):
    """A classifier in good health; ``inner`` is what a broken one does otherwise."""

    name, classes, size = "judge", CLASSES, (SIDE, SIDE)

    def __init__(self, inner: Callable[[ToyClassifier, Tensor], Tensor] | None = None, **own: Any) -> None:
        self.network = net()
        self.modules = (self.network,)
        self.inner = inner
        vars(self).update(own)

    def plain(self, x: Tensor) -> Tensor:
        """What it answers in good health."""
        out: Tensor = self.network(4 * x - 2)
        return out

    def features(self, x: Tensor) -> Tensor:
        x = self.checked_input(x)
        return self.inner(self, x) if self.inner else self.plain(x)

    def scores(self, features: Tensor) -> Tensor:
        return features


class Unseeing(ToyClassifier):
    """Takes any pixels and counts nothing."""

    def features(self, x: Tensor) -> Tensor:
        return self.plain(x)


class Uncounting(ToyClassifier):
    """Refuses what is wrong, but counts nothing."""

    def features(self, x: Tensor) -> Tensor:
        check_pixels(x, self.name)
        return self.plain(x)


class ToyEmbedder(Embedder):
    """An embedder in good health: any text has a vector of its own."""

    name, size = "eyes", (SIDE, SIDE)

    def __init__(
        self,
        image: Callable[[ToyEmbedder, Tensor], Tensor] | None = None,
        text: Callable[[Sequence[str]], Tensor] | None = None,
    ) -> None:
        self.network = net()
        self.modules = (self.network,)
        self.image, self.text = image, text

    def plain(self, x: Tensor) -> Tensor:
        """What it answers in good health."""
        out: Tensor = self.network(4 * x - 2)
        return out

    def encode_image(self, x: Tensor) -> Tensor:
        return self.image(self, x) if self.image else self.plain(x)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.text(texts) if self.text else Keys.of(0, texts).normal((5,))


class Unscaled(ToyEmbedder):
    """Forgets that vectors have length one."""

    def embed(self, x: Tensor) -> Tensor:
        return 3 * super().embed(x)


class Hidden(ToyClassifier):
    """A network that nobody knows of, with dropout that nobody ends."""

    def __init__(self, training: bool) -> None:
        super().__init__()
        self.network = net(nn.Dropout(0.5)).train(training)
        self.modules = ()


class ToyPurifier(Purifier):
    """A purifier in good health, with a little noise."""

    name = "pane"

    def __init__(
        self,
        inner: Callable[[Tensor, Keys], Tensor] | None = None,
        stochastic: bool = True,
        differentiable: bool = True,
    ) -> None:
        self.inner, self.stochastic, self.differentiable = inner, stochastic, differentiable

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        if self.inner:
            return self.inner(x, keys)
        return 0.1 + 0.8 * x + 0.02 * keys.uniform(x.shape[1:], like=x)


class Cropper(ToyPurifier):
    """Leaves the size that it was handed."""

    def purify(self, x: Tensor, keys: Keys) -> Tensor:
        return F.interpolate(super().purify(x, keys), (SIDE, SIDE))


def still(x: Tensor, keys: Keys) -> Tensor:
    """The image, a little paler."""
    return 0.1 + 0.8 * x


def backward_inside(judge: ToyClassifier, x: Tensor) -> Tensor:
    """Takes its own gradient the wrong way, into the parameters."""
    with torch.enable_grad():
        for parameter in judge.network.parameters():
            parameter.requires_grad_(True)
        judge.plain(x.detach()).sum().backward()
    return judge.plain(x)


def stepped(x: Tensor) -> Tensor:
    """Eight levels, with the gradient of the identity."""
    return straight_through(x, (8 * x).round() / 8)


def jpeg(x: Tensor, keys: Keys) -> Tensor:
    return compress(x, 50)
