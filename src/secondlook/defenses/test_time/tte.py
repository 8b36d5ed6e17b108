"""TTE: the mean of what is said of flips, crops and a blur."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.bounds import Natural, Share, Weight
from secondlook.defenses.adaptation import answering, said
from secondlook.defenses.base import Adaptation, Adapted, Defense, Gradient
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier, Embedder, Model
from secondlook.models.purifiers.filters import Blur
from secondlook.randomness import Keys
from secondlook.registry import register

Look = Callable[[Tensor], Tensor]


class MeanOfViews(Adaptation):
    """The mean over fixed views, of features and of scores.

    Args:
        model: who answers.
        looks: each makes a view of a batch.
    """

    def __init__(self, model: Classifier | Embedder, looks: tuple[Look, ...]) -> None:
        self.model, self.looks = model, looks

    def views(self, x: Tensor) -> Tensor:
        """``[B, V, C, H, W]``."""
        return torch.stack([look(x) for look in self.looks], 1)

    def answer(self, x: Tensor, keys: Keys, gradient: Gradient) -> Adapted:
        """The means; the views have gradients of their own, and there is nothing to go past."""
        found = said(self.model, self.views(x).flatten(0, 1))
        return Adapted(*(part.unflatten(0, (len(x), len(self.looks))).mean(1) for part in found))


def _same(x: Tensor) -> Tensor:
    return x


def _flipped(x: Tensor) -> Tensor:
    return x.flip(-1)


def shifted(x: Tensor, padding: float, down: float, right: float) -> Tensor:
    """A crop of the size of the image out of the image with a black border.

    Args:
        x: ``[B, C, H, W]``.
        padding: width of the border, as a share of each side.
        down: where the crop begins, as a share of what there is to choose from.
        right: the same across.
    """
    height, width = x.shape[-2:]
    tall, wide = round(height * padding), round(width * padding)
    top, left = (min(int(at * (2 * room + 1)), 2 * room) for at, room in ((down, tall), (right, wide)))
    return F.pad(x, (wide, wide, tall, tall))[..., top : top + height, left : left + width]


@register("defense", "tte")
@dataclass(frozen=True, kw_only=True)
class TTE(Defense):
    """Answers with the mean over the image, its mirror image, and crops of it (TTE, ICCV workshops 2021).

    The crops are drawn once, and are the same for every image: the defense is deterministic.

    Attributes:
        flip: whether the mirror image is a view.
        crops: how many crops, each out of the image with a black border.
        padding: width of that border, as a share of each side; 4 pixels of 32 are published.
        flip_crops: whether the mirror image of each crop is a view.
        blur: deviation of a Gaussian blur that makes one more view, in pixels; 0 for none.
        seed: of the crops.
        legacy_one_crop: makes all crops the last one, as a slip of the published code does.

    Raises:
        InvalidInput: a number out of range, nothing but the image itself, or, in front of a model,
            neither scores nor vectors.
    """

    flip: bool = True
    crops: Natural = 4
    padding: Share = 0.125
    flip_crops: bool = True
    blur: Weight = 0.0
    seed: Natural = 0
    legacy_one_crop: bool = False

    def __post_init__(self) -> None:
        if not (self.flip or self.crops or self.blur):
            raise InvalidInput("flip=False, crops=0 and blur=0 leave the image itself alone; write one of them")

    @property
    def looks(self) -> tuple[Look, ...]:
        """What makes the views, the image itself first."""
        places = Keys.of(self.seed, range(self.crops)).fold("crop").uniform((2,)).tolist()
        if self.legacy_one_crop:
            places = places[-1:] * len(places)
        crops: list[Look] = [partial(shifted, padding=self.padding, down=down, right=right) for down, right in places]
        mirrored = [partial(_mirrored, look=crop) for crop in crops] if self.flip_crops else []
        blurred = [partial(Blur(self.blur).reconstruct, keys=Keys.of(0, ()))] if self.blur else []
        return (_same, *([_flipped] if self.flip else []), *crops, *mirrored, *blurred)

    def adaptation(self, model: Model) -> MeanOfViews:
        """The mean in front of ``model``."""
        return MeanOfViews(answering(model, "tte"), self.looks)


def _mirrored(x: Tensor, look: Look) -> Tensor:
    return look(x).flip(-1)
