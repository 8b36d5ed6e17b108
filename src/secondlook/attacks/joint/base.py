"""The settings that all attacks on images share, and one climb of their image side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.attacks.base import Attacked
from secondlook.attacks.joint.climber import Climber, Start
from secondlook.attacks.joint.objectives import Estrange, Mark, means
from secondlook.attacks.joint.views import Views
from secondlook.attacks.pairs import PairAttack
from secondlook.attacks.words.base import WordSearch
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.threat import Threat


@dataclass(frozen=True, kw_only=True)
class ImageSearch(PairAttack):
    """Steps on images; what against is for a subclass to say.

    Attributes:
        steps: gradient steps.
        pace: all steps together are this many times eps.
        start: ``ball`` at random within, ``above`` at random and brighter only, ``clean``.
        momentum: share of the last direction that is kept, for transfer (MIM, Dong et al. 2018).
        scales: copies of each image at these scales are climbed with it.
        noise: deviation of the noise on such a copy, in pixel units.
        diversity: the chance that a view is shrunk and moved, for transfer (DI, Xie et al. 2019).

    Raises:
        InvalidInput: a number of steps below one, or a scale or chance that is none.
    """

    steps: int = 10
    pace: float = 2.5
    start: Start = "ball"
    momentum: float = 0.0
    scales: tuple[float, ...] = ()
    noise: float = 0.05
    diversity: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise InvalidInput(f"steps={self.steps}; write 1 or more")
        if self.start not in ("ball", "above", "clean"):
            raise InvalidInput(f"start={self.start!r}; write 'ball', 'above' or 'clean'")
        self.views  # noqa: B018 - it says what is wrong with its settings

    @property
    def views(self) -> Views:
        """What of an image is looked at in a step."""
        return Views(scales=self.scales, noise=self.noise, diversity=self.diversity)

    def from_captions(
        self, victims: Sequence[Embedder], vectors: Sequence[Tensor], owner: Tensor,
        clean: Tensor, threat: Threat, keys: Keys, warm: Tensor | None = None,
    ) -> Attacked:  # fmt: skip
        """Images away from all of their captions, whose unit vectors ``[C, D]`` are given."""
        pushed = means(vectors, owner, len(clean))
        marks = [Mark(*row) for row in zip(victims, pushed, strict=True)]
        return self.climb(marks, clean, threat, keys, warm=warm)

    def from_themselves(
        self, victims: Sequence[Embedder], clean: Tensor, threat: Threat, keys: Keys
    ) -> Attacked:
        """Images away from the vectors that they had, whatever their captions."""
        marks = [Mark(v, past=x) for v, x in zip(victims, seen(victims, clean), strict=True)]
        return self.climb(marks, clean, threat, keys)

    def climb(
        self, marks: Sequence[Mark], clean: Tensor, threat: Threat, keys: Keys, *,
        alpha: float = 0.0, warm: Tensor | None = None,
    ) -> Attacked:  # fmt: skip
        """Images away from ``marks``, on the 8-bit grid, as whoever looks next will see them."""
        climber = Climber(
            steps=self.steps, pace=self.pace, start=self.start, momentum=self.momentum, warm=warm
        )
        objective = Estrange(marks=tuple(marks), views=self.views, alpha=alpha)
        return climber(objective, clean, threat, keys)


@dataclass(frozen=True, kw_only=True)
class JointAttack(WordSearch, ImageSearch):
    """Both sides: words in captions, steps on images. A subclass is a schedule of the two."""


@torch.no_grad()
def seen(victims: Sequence[Embedder], images: Tensor) -> list[Tensor]:
    """Of each embedder the unit vectors ``[B, D]`` of images."""
    return [victim.embed(images) for victim in victims]
