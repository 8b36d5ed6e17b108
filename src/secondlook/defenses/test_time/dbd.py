"""DBD: along the direction in which all views of an image move its vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.bounds import Count, Natural, Positive, Share, Weight
from secondlook.defenses.adaptation import ViewAdaptation, Weighed, zero_shot
from secondlook.defenses.base import Defense
from secondlook.defenses.test_time.crops import resized_crops
from secondlook.defenses.test_time.gates import soft_gate
from secondlook.errors import InvalidInput
from secondlook.models.base import Model, Purifier
from secondlook.models.purifiers.filters import Blur, MedianFilter
from secondlook.models.purifiers.jpeg import JpegPurifier
from secondlook.models.purifiers.soft import straight_through
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.registry import register

QUALITIES: Final = (50, 60, 75)
"""Of the JPEG views."""
WINDOW: Final = 5
"""Side of the median, the mean and the Gaussian."""
GAUSSIAN: Final = 1.1
"""Deviation of a Gaussian of a window of 5, as image libraries choose it."""
STEP: Final = 32
"""Levels of 255 in one level of 3 bits."""
FIXED: Final = 3 + len(QUALITIES) + 3
"""Views that are always there: three roundings, three qualities, three filters."""


class Bias(NamedTuple):
    """How the views of an image move its vector.

    Attributes:
        direction: the mean move, ``[B, D]``.
        agreement: the mean cosine of a move to it, ``[B]``; 0 where nothing moves.
    """

    direction: Tensor
    agreement: Tensor


def directional_bias(own: Tensor, views: Tensor) -> Bias:
    """What the views' vectors ``[B, V, D]`` have in common against the image's own ``[B, D]``.

    Example:
        >>> found = directional_bias(torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.8, 0.6], [0.6, 0.8]]]))
        >>> f"{float(found.agreement):.5f}"
        '0.99741'
    """
    moves = views - own[:, None]
    mean = moves.mean(1)
    return Bias(mean, F.cosine_similarity(moves, mean[:, None], dim=-1, eps=1e-12).mean(1))


class DirectionalBias(ViewAdaptation):
    """The image's own vector, and the mean move of its clearest views, more of it where they agree.

    Args:
        model: who answers.
        settings: of the defense.
    """

    model: ZeroShot

    def __init__(self, model: ZeroShot, settings: DBD) -> None:
        super().__init__(model)
        self.settings = settings

    def views(self, x: Tensor, keys: Keys) -> Tensor:
        """The image itself, crops, three roundings to 3 bits, three of JPEG, noises, three filters."""
        settings = self.settings
        crops = resized_crops(x, keys.fold("crops"), settings.crops, 0.5) if settings.crops else x[:, None][:, :0]
        filters: tuple[Purifier, ...] = (MedianFilter(WINDOW), Blur(GAUSSIAN))
        made = [x, *rounded_to_levels(x, settings.legacy_wrap)]
        made += [JpegPurifier(quality).reconstruct(x, keys) for quality in QUALITIES]
        made += [mean_filter(x), *(each.reconstruct(x, keys) for each in filters)]
        noise = keys.fold("noise").normal((settings.noises, *x.shape[1:]), like=x)
        return torch.cat([torch.stack(made, 1), crops, (x[:, None] + settings.sigma * noise).clamp(0, 1)], 1)

    def weighed(self, vectors: Tensor, keys: Keys) -> Weighed:
        """1 - c for the image's own vector, c shared by the views that are kept."""
        own, views, settings = vectors[:, 0], vectors[:, 1:], self.settings
        logits = self.model.scores(views) / settings.temperature
        kept = entropy(logits).topk(settings.kept, dim=1, largest=False).indices
        chosen = views.gather(1, kept[..., None].expand(-1, -1, views.shape[-1]))
        over = directional_bias(own, chosen).agreement - settings.agree_above
        scale = 1 + (settings.strength - 1) * soft_gate(over)
        shares = torch.zeros_like(views[..., 0]).scatter(1, kept, 1 / settings.kept)
        return Weighed(torch.cat([1 - scale[:, None], scale[:, None] * shares], 1))


def entropy(logits: Tensor) -> Tensor:
    """Of the distributions of logits ``[..., K]``, in nats."""
    log = logits.log_softmax(-1)
    found: Tensor = -(log.exp() * log).sum(-1)
    return found


def rounded_to_levels(x: Tensor, wrap: bool) -> list[Tensor]:
    """Down, to the nearest, and up to a multiple of 32 of 255 levels; the gradient is that of ``x``.

    Args:
        x: images in [0, 1].
        wrap: whether what comes to 256 is 0, as in numbers of 8 bits, and not white.
    """
    levels = (255 * x.detach()).round()
    found = [(levels + up).div(STEP, rounding_mode="floor") * STEP for up in (0, STEP // 2, STEP - 1)]
    found = [level % 256 if wrap else level.clamp(max=255) for level in found]
    return [straight_through(x, level / 255) for level in found]


def mean_filter(x: Tensor) -> Tensor:
    """The mean of the window around each pixel, the border reflected."""
    reach = WINDOW // 2
    return F.avg_pool2d(F.pad(x, (reach, reach, reach, reach), "reflect"), WINDOW, 1)


@register("defense", "dbd")
@dataclass(frozen=True, kw_only=True)
class DBD(Defense):
    """Moves the vector along what its views have in common, further where they agree (DBD, arXiv 2606.06186).

    Of ``crops + noises + 9`` views those of the lowest entropy are kept. The answer is the image's own
    vector and ``c`` times their mean move, with ``c`` of 1, or ``strength`` where the mean cosine of the
    moves to their mean is above ``agree_above``. At the published strength of 2.5 the image's own
    vector counts -1.5 there. An attacker gets a smooth step for that gate through the defense, and the
    gate as it stands past it. It costs ``crops + noises + 10`` forwards.

    Attributes:
        crops: random crops of half of the image's area or more.
        noises: copies with Gaussian noise.
        sigma: its deviation, in pixel units.
        kept: views of the lowest entropy.
        agree_above: the agreement above which the views are followed further.
        strength: how far then.
        temperature: cosines are divided by it for the entropy.
        legacy_wrap: white comes out black in two of the roundings to 3 bits, as in the published code.

    Raises:
        InvalidInput: a number out of range, fewer views than are kept, or, in front of a model, no
            embedder with classes.
    """

    crops: Natural = 16
    noises: Natural = 6
    sigma: Weight = 0.1
    kept: Count = 16
    agree_above: Share = 0.8
    strength: Positive = 2.5
    temperature: Positive = 0.01
    legacy_wrap: bool = False

    def __post_init__(self) -> None:
        made = self.crops + self.noises + FIXED
        if self.kept > made:
            raise InvalidInput(f"kept={self.kept} of {made} views; write {made} or fewer, or more crops")

    @property
    def stochastic(self) -> bool:
        """Whether views are drawn."""
        return bool(self.crops or (self.noises and self.sigma))

    def adaptation(self, model: Model) -> DirectionalBias:
        """The correction of the vectors of a zero-shot classifier."""
        return DirectionalBias(zero_shot(model, "dbd"), self)
