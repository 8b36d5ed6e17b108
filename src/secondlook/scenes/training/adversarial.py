"""Training and measuring classifiers under attack, with the package's own PGD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.attacks.base import Judged
from secondlook.attacks.pgd import PGD
from secondlook.randomness import Keys
from secondlook.scenes.networks.classifier import ClassifierNetwork
from secondlook.scenes.training.images import SceneSet
from secondlook.scenes.training.loop import Loss
from secondlook.scenes.training.objectives import fast
from secondlook.threat import Threat

THREAT = Threat(norm="linf", eps=8 / 255)
INNER = PGD(steps=2, step=6 / 255, keep_best=False, early_exit=True)
"""Short, and on each sample only until it is fooled (friendly training, Zhang et al. 2020).

At the start of a training all are fooled at once and it learns from nearly clean scenes; the attack
grows with the network, so no schedule of the radius is needed.
"""


@dataclass(frozen=True, kw_only=True)
class Surprise:
    """The objective of the inner attack: the cross-entropy of each sample.

    Attributes:
        network: images to scores ``[B, K]``.
        truth: the class of each sample, ``[B]``.
    """

    network: nn.Module
    truth: Tensor

    @property
    def parts(self) -> Sequence[Surprise]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The network."""
        return (self.network,)

    def __call__(self, x: Tensor, keys: Keys) -> Judged:
        """Cross-entropy ``[B]``, and whether the answer is wrong."""
        scores = self.network(x).float()
        wrong = scores.detach().argmax(1) != self.truth
        return Judged(F.cross_entropy(scores, self.truth, reduction="none"), wrong)

    def take(self, rows: Tensor) -> Surprise:
        """The same objective for some of the samples."""
        return replace(self, truth=self.truth[rows])


def hardening(
    network: ClassifierNetwork, scenes: SceneSet, device: str, inner: PGD = INNER,
    threat: Threat = THREAT,
) -> Loss:  # fmt: skip
    """Cross-entropy on what a short attack makes of the batch (Madry et al. 2018).

    The attack sees the network in eval mode and differentiates to pixels only.
    """

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        x, truth = scenes.images(rows).to(device), scenes.labels[rows].to(device)
        seed = int(torch.randint(2**62, (1,), generator=generator))
        objective = Surprise(network=network, truth=truth)
        with fast(device):
            attacked = inner(objective, x, threat, Keys.of(seed, range(len(rows)))).x
            scores = network(attacked)
        return F.cross_entropy(scores.float(), truth)

    return loss
