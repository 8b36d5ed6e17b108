"""What the joint attacks share: the settings and the search of their image side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from secondlook.attacks.base import AttackResult
from secondlook.attacks.joint.objectives import AwayFromReferences, Reference, Views, mean_vectors
from secondlook.attacks.pairs import PairAttack
from secondlook.attacks.pgd import PGD
from secondlook.attacks.text.base import WordSubstitution
from secondlook.bounds import Count, Positive, Share, Weight
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.threat import Threat

Start = Literal["ball", "above", "clean"]
_FREE_STEPS = 30


@dataclass(frozen=True, kw_only=True)
class ImagePGD(PGD):
    """PGD with the starts that the joint attacks are published with.

    Attributes:
        pace: all steps together are this many times eps.
        begin: ``ball`` at random within, ``above`` at random and brighter only, ``clean``.
        warm: images ``[B, C, H, W]`` to go on from instead.
    """

    keep_best: bool = False
    pace: float = 2.5
    begin: Start = "ball"
    warm: Tensor | None = field(default=None, compare=False)

    def automatic_step(self, threat: Threat, clean: Tensor) -> float | Tensor:
        """The pace shared out over the steps."""
        return self.pace * threat.radius(clean) / self.steps

    def start(self, clean: Tensor, threat: Threat, keys: Keys) -> Tensor:
        """As ``begin`` says, or where another search has ended."""
        if self.warm is not None:
            return self.warm.clone()
        if self.begin == "ball":
            return super().start(clean, threat, keys)
        if self.begin == "clean":
            return clean.clone()
        up = keys.fold("start").uniform(clean.shape[1:], like=clean)
        return threat.project(clean + threat.radius(clean) * up, clean)


@dataclass(frozen=True, kw_only=True)
class ImageSearch(PairAttack):
    """Steps on images; what against is for a subclass to say.

    Attributes:
        steps: gradient steps.
        pace: all steps together are this many times eps.
        start: ``ball`` at random within, ``above`` at random and brighter only, ``clean``.
        momentum: share of the last direction that is kept, for transfer (MI-FGSM, 1710.06081).
        scales: copies of each image at these scales are attacked with it.
        noise: deviation of the noise on such a copy, in pixel units.
        diversity: the chance that a view is resized and padded, for transfer (DI-FGSM, 1803.06978).

    Raises:
        InvalidInput: a number of steps below one, or a scale or chance that is none.
    """

    steps: Count = 10
    pace: Positive = 2.5
    start: Start = "ball"
    momentum: Weight = 0.0
    scales: tuple[Positive, ...] = ()
    noise: Share = 0.05
    diversity: Share = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self.views  # noqa: B018 - it says what is wrong with its settings

    @property
    def image_steps(self) -> int:
        """Gradient steps that are taken."""
        return self.steps

    @property
    def views(self) -> Views:
        """What of an image is embedded in a step."""
        return Views(scales=self.scales, noise=self.noise, diversity=self.diversity)

    def from_captions(
        self,
        victims: Sequence[Embedder],
        vectors: Sequence[Tensor],
        owner: Tensor,
        clean: Tensor,
        threat: Threat,
        keys: Keys,
        warm: Tensor | None = None,
    ) -> AttackResult:
        """Images away from all of their captions, whose unit vectors ``[C, D]`` are given."""
        means = mean_vectors(vectors, owner, len(clean))
        references = [Reference(*row) for row in zip(victims, means, strict=True)]
        return self.search_images(references, clean, threat, keys, warm=warm)

    def from_themselves(self, victims: Sequence[Embedder], clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """Images away from the vectors that they had, whatever their captions."""
        own = image_vectors(victims, clean)
        references = [Reference(v, image=x) for v, x in zip(victims, own, strict=True)]
        return self.search_images(references, clean, threat, keys)

    def search_images(
        self,
        references: Sequence[Reference],
        clean: Tensor,
        threat: Threat,
        keys: Keys,
        *,
        alpha: float = 0.0,
        warm: Tensor | None = None,
    ) -> AttackResult:
        """Images away from ``references``, as an attack's call gives them."""
        attack = ImagePGD(steps=self.image_steps, pace=self.pace, begin=self.start, momentum=self.momentum, warm=warm)
        objective = AwayFromReferences(references=tuple(references), views=self.views, alpha=alpha)
        return attack(objective, clean, threat, keys)


@dataclass(frozen=True, kw_only=True)
class JointAttack(WordSubstitution, ImageSearch):
    """Both sides: words in captions, steps on images. A subclass is a schedule of the two.

    Where ``text`` is ``free``, images take 30 steps or more.
    """

    @property
    def image_steps(self) -> int:
        """As many as are set; no fewer than 30 where words are free."""
        return max(self.steps, _FREE_STEPS) if self.text == "free" else self.steps


@torch.no_grad()
def image_vectors(victims: Sequence[Embedder], images: Tensor) -> list[Tensor]:
    """Of each embedder the unit vectors ``[B, D]`` of images."""
    return [victim.embed(images) for victim in victims]
