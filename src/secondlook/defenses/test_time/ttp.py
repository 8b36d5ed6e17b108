"""After TTP: a border around the image tells an attacked one, and a tuned border restores it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.bounds import Count, Natural, Part, Positive, Share
from secondlook.defenses.adaptation import embedded, slope, zero_shot
from secondlook.defenses.base import Adaptation, Adapted, Defense, Gradient
from secondlook.defenses.test_time.dbd import entropy
from secondlook.defenses.test_time.gates import gated, soft_gate
from secondlook.models.base import Model, resized
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.registry import register

PLAIN: Final = 0.5
"""Of the border that tells attacked images, and that tuning starts from."""


class TunedBorder(Adaptation):
    """The image's own vector, or that of the image within borders tuned for it.

    Args:
        model: who answers.
        settings: of the defense.
    """

    def __init__(self, model: ZeroShot, settings: TTP) -> None:
        self.model, self.settings = model, settings

    def answer(self, x: Tensor, keys: Keys, gradient: Gradient) -> Adapted:
        """Scores of the vector; borders, of sign steps, are constants in every manner, the gate past it."""
        own = self.model.features(x)
        with torch.no_grad():
            borders = self.tuned(x.detach())
        shift = self.shift(x, own)
        if gradient == "bpda":
            shift = shift.detach()
        restored = alike(embedded(self.model.embedder, self.padded(x, borders)), self.settings.sharpness)
        found = gated(soft_gate(shift - self.settings.shift_above), restored, own)
        return Adapted(found, self.model.scores(found))

    def gate(self, x: Tensor, keys: Keys) -> Tensor:
        """How much less plain borders shift the vector than that of an attacked image, ``[B]``."""
        return self.settings.shift_above - self.shift(x, self.model.features(x))

    def shift(self, x: Tensor, own: Tensor) -> Tensor:
        """One less the mean cosine of images in plain borders to the image's own vector, ``[B]``."""
        borders = torch.full_like(x, PLAIN)[:, None].expand(-1, self.settings.widths, -1, -1, -1)
        plain = embedded(self.model.embedder, self.padded(x, borders))
        return 1 - (plain * own[:, None]).sum(2).mean(1)

    def tuned(self, x: Tensor) -> Tensor:
        """Borders ``[B, W, C, H, W]``, of which the part outside of the image counts, after the steps."""
        borders = torch.full_like(x, PLAIN)[:, None].repeat(1, self.settings.widths, 1, 1, 1)
        for _ in range(self.settings.steps):
            down = slope(lambda at: self.doubt(self.padded(x, at)), borders).sign()
            borders = (borders - self.settings.step * down).clamp(0, 1)
        return borders

    def doubt(self, views: Tensor) -> Tensor:
        """The mean entropy of what views ``[B, W, C, H, W]`` are taken for, ``[B]``."""
        vectors = self.model.embedder.embed(views.flatten(0, 1)).unflatten(0, views.shape[:2])
        return entropy(self.model.scores(vectors) / self.settings.temperature).mean(1)

    def padded(self, x: Tensor, borders: Tensor) -> Tensor:
        """The image, made smaller, within each of the borders ``[B, W, C, H, W]``."""
        height, width = x.shape[-2:]
        made = []
        for at in range(self.settings.widths):
            share = self.settings.padding * (at + 1) / self.settings.widths
            tall, wide = (max(1, round(side * share / 2)) for side in (height, width))
            small = resized(x, max(1, height - 2 * tall), max(1, width - 2 * wide))
            around = (wide, width - wide - small.shape[-1], tall, height - tall - small.shape[-2])
            inner = F.pad(torch.ones_like(small[:1, :1]), around)
            made.append(F.pad(small, around) + (1 - inner) * borders[:, at])
        return torch.stack(made, 1)


def alike(vectors: Tensor, sharpness: float) -> Tensor:
    """The unit mean of vectors ``[B, V, D]``, each weighted by its cosine to what they have in common."""
    middle = F.normalize(vectors.mean(1, keepdim=True), dim=-1)
    weights = ((vectors * middle).sum(2) / sharpness).softmax(1)
    return F.normalize((weights[..., None] * vectors).sum(1), dim=-1)


@register("defense", "ttp")
@dataclass(frozen=True, kw_only=True)
class TTP(Defense):
    """Tunes a border around an image whose vector a plain border shifts (after TTP, arXiv 2512.16523).

    No code was public: what the abstract says is built, and its numbers are ours. The image is made
    smaller within borders of several widths; where gray ones shift its vector by more than a
    threshold, it counts as attacked: sign steps tune the borders down the entropy of what is seen, and
    the vectors are averaged by their likeness. Any other image is answered for as it is. It costs
    ``widths * (steps + 2) + 1`` forwards and ``widths * steps`` backwards.

    Attributes:
        padding: the widest border, as the share of a side that both of its ends take together.
        widths: how many borders, evenly from none to that.
        steps: of the tuning.
        step: length of each, in pixel units.
        shift_above: one less the cosine to the plainly padded image, above which an image is attacked.
        sharpness: temperature of the average's weights.
        temperature: cosines are divided by it for the entropy.

    Raises:
        InvalidInput: a number out of range, or, in front of a model, no embedder with classes.
    """

    padding: Part = 0.25
    widths: Count = 3
    steps: Natural = 1
    step: Positive = 0.1
    shift_above: Share = 0.2
    sharpness: Positive = 0.05
    temperature: Positive = 0.01

    def adaptation(self, model: Model) -> TunedBorder:
        """The borders in front of a zero-shot classifier."""
        return TunedBorder(zero_shot(model, "ttp"), self)
