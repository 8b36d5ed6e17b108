"""Tiny victims whose optima, gradients and votes are known in closed form.

Sums run row by row and never through a matrix product, so that a sample is not felt by the others
of its batch, down to the last bit.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from secondlook.attacks.base import Evaluation
from secondlook.ledger import tally
from secondlook.models.base import Classifier, Embedder, Purifier
from secondlook.randomness import Keys
from secondlook.threat import Norm, Threat

SIDE = 4
SHAPE = (3, SIDE, SIDE)


def images(count: int, low: int = 64, high: int = 192, seed: int = 0) -> Tensor:
    """8-bit images ``[count, 3, 4, 4]`` with levels from ``low`` to below ``high``."""
    draws = Keys.of(seed, range(count)).fold("image").uniform(SHAPE)
    return (low + draws * (high - low)).floor() / 255


def directions(count: int, seed: int = 0) -> Tensor:
    """Weights ``[count, 3, 4, 4]``, none of them near zero."""
    draws = Keys.of(seed, range(count)).fold("direction").normal(SHAPE)
    return draws + 0.1 * draws.sign()


def global_generators() -> list[str]:
    """The states of the generators that nobody may touch."""
    legacy = np.random.get_state()  # noqa: NPY002
    return [str(torch.get_rng_state().tolist()), str(legacy[1].tolist()), str(random.getstate())]


@dataclass(frozen=True, kw_only=True)
class Slope:
    """The objective ``<w, x>``, with weights of its own for each sample; success at ``bar``.

    Its optimum in L∞ is ``x + eps * sign(w)``, in L2 ``x + eps * w / |w|``.
    """

    weights: Tensor
    bar: Tensor | None = None
    name: str = "slope"
    modules: tuple[nn.Module, ...] = ()

    @property
    def parts(self) -> tuple[Slope, ...]:
        return (self,)

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        loss = (self.weights * tally(self.name, x)).flatten(1).sum(1)
        bar = torch.full_like(loss, float("inf")) if self.bar is None else self.bar
        return Evaluation(loss, loss.detach() >= bar)

    def take(self, rows: Tensor) -> Slope:
        bar = None if self.bar is None else self.bar[rows]
        return replace(self, weights=self.weights[rows], bar=bar)


@dataclass(frozen=True, kw_only=True)
class Bowl:
    """The objective ``-|x - center|² / 2``: its gradient points home and is zero there."""

    center: Tensor
    modules: tuple[nn.Module, ...] = ()

    @property
    def parts(self) -> tuple[Bowl, ...]:
        return (self,)

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        loss = -((x - self.center) ** 2).flatten(1).sum(1) / 2
        return Evaluation(loss, torch.zeros(len(x), dtype=torch.bool))

    def take(self, rows: Tensor) -> Bowl:
        return replace(self, center=self.center[rows])


class LinearClassifier(Classifier):
    """Scores ``<w_k, x>``, ``weights`` being ``[K, 3, 4, 4]``; its features are the pixels."""

    def __init__(self, weights: Tensor, name: str = "linear") -> None:
        self.name, self.weights = name, weights
        self.classes = tuple(f"class {k}" for k in range(len(weights)))

    def features(self, x: Tensor) -> Tensor:
        return self.checked_input(x).flatten(1)

    def scores(self, features: Tensor) -> Tensor:
        return (features[..., None, :] * self.weights.flatten(1)).sum(-1)


class Moody(nn.Module):
    """A network that answers otherwise in training mode, and whose submodules differ in mode."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(0.5))
        self.head = nn.Linear(48, 3)
        with torch.no_grad():
            self.head.weight.copy_(directions(3).flatten(1))
            self.head.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.body(x))
        return out


class MoodyClassifier(Classifier):
    name = "moody"
    classes = ("a", "b", "c")

    def __init__(self) -> None:
        self.network = Moody()
        self.modules = (self.network,)

    def features(self, x: Tensor) -> Tensor:
        out: Tensor = self.network(self.checked_input(x))
        return out

    def scores(self, features: Tensor) -> Tensor:
        return features


class ColorEmbedder(Embedder):
    """A linear embedder: an image is the means of its channels, a color word is their axis.

    Aligned to one color within an L∞ ball, that channel goes up by eps and both others down.
    """

    name = "color"
    words = ("red", "green", "blue")

    def encode_image(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return torch.eye(3)[[self.words.index(text) for text in texts]]


class ReadOut(Classifier):
    """The scores are written on the image: its first ``K`` red pixels."""

    name = "readout"

    def __init__(self, classes: int) -> None:
        self.classes = tuple(f"class {k}" for k in range(classes))

    def features(self, x: Tensor) -> Tensor:
        return self.checked_input(x)[:, 0, 0, : len(self.classes)]

    def scores(self, features: Tensor) -> Tensor:
        return features


def written(scores: Tensor, like: Tensor) -> Tensor:
    """Images on which :class:`ReadOut` finds ``scores``, ``[B, K]``."""
    out = torch.zeros_like(like)
    out[:, 0, 0, : scores.shape[1]] = scores
    return out


class Scripted(Purifier):
    """Writes the scores ``script[sample, draw]`` of a script ``[B, N, K]`` on what it is shown."""

    name = "scripted"

    def __init__(self, keys: Keys, script: Tensor) -> None:
        words = keys.repeat(script.shape[1]).words.tolist()
        self.answers = dict(zip(words, script.flatten(0, 1), strict=True))

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        return written(torch.stack([self.answers[word] for word in keys.words.tolist()]), x)


class Coin(Purifier):
    """Writes class 1 with probability ``heads``, else class 0: the votes are Bin(N, heads)."""

    name = "coin"

    def __init__(self, heads: float) -> None:
        self.heads = heads

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        chosen = (keys.uniform((1,)) < self.heads).long().flatten()
        # The gradient is there, and is zero.
        return written(torch.eye(2)[chosen], x) + 0 * x


class Dimmer(Purifier):
    """Multiplies the image by a factor from [0.25, 0.75), one for each draw."""

    name = "dimmer"

    def factors(self, keys: Keys) -> Tensor:
        """The factor of each draw, ``[B]``."""
        return 0.25 + 0.5 * keys.uniform((1,)).flatten()

    def reconstruct(self, x: Tensor, keys: Keys) -> Tensor:
        return x * self.factors(keys).view(-1, 1, 1, 1)


def worst_lead(weights: Tensor, clean: Tensor, truth: Tensor, threat: Threat) -> Tensor:
    """The largest lead of a wrong class that the ball allows, ``[B]``; below 0 it is robust.

    For scores ``<w_k, x>``, and in L∞ and L2 for a ball that stays clear of black and white.
    """
    flat, rows = clean.flatten(1), torch.arange(len(clean))
    scores = (flat[:, None] * weights.flatten(1)).sum(2)
    towards = weights.flatten(1)[None] - weights.flatten(1)[truth][:, None]
    lead = scores - scores[rows, truth][:, None] + _gain(towards, flat, threat)
    lead[rows, truth] = float("-inf")
    return lead.amax(1)


def _gain(towards: Tensor, flat: Tensor, threat: Threat) -> Tensor:
    """What a line with the slopes ``towards``, ``[B, K, D]``, can gain in the ball."""
    steepness = towards.abs()
    if threat.norm == "linf":
        return threat.eps * steepness.sum(2)
    if threat.norm == "l2":
        return threat.eps * steepness.norm(dim=2)
    # In L1 all goes to the steepest pixel until it is black or white, then to the next.
    room = torch.where(towards > 0, 1 - flat[:, None], flat[:, None])
    steepness, order = steepness.sort(dim=2, descending=True)
    room = room.gather(2, order)
    left = (threat.eps - (room.cumsum(2) - room)).clamp_min(0)
    return (steepness * left.minimum(room)).sum(2)


def halving_eps(weights: Tensor, clean: Tensor, truth: Tensor, norm: Norm) -> Threat:
    """The ball in which half of the images are robust, in closed form."""
    low, high = 1e-4, {"linf": 0.2, "l2": 2.0, "l1": 8.0}[norm]
    for _ in range(30):
        threat = Threat(norm=norm, eps=(low + high) / 2)
        robust = (worst_lead(weights, clean, truth, threat) < 0).float().mean()
        low, high = (threat.eps, high) if robust > 0.5 else (low, threat.eps)
    # A little more, so that whoever stands on the very edge is not called robust.
    return Threat(norm=norm, eps=1.003 * high)
