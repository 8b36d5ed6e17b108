"""What hardening methods are made of: losses, inner objectives, and the attack inside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.attacks.base import Evaluation, Objective
from secondlook.attacks.pgd import PGD
from secondlook.bounds import Share
from secondlook.hardening.dataset import Batch, Dataset, Requirement
from secondlook.hardening.diagnostics import Diagnosis
from secondlook.hardening.embedder import Part, TrainableEmbedder
from secondlook.randomness import Keys
from secondlook.threat import LEVELS, Pixels, Threat


def tecoa_loss(vectors: Tensor, texts: Tensor, truth: Tensor, scale: float | Tensor = 100.0) -> Tensor:
    """Cross-entropy over the cosines to class texts, ``[B]`` (TeCoA, Mao et al. 2023, section 4).

    Args:
        vectors: ``[B, D]`` of any length; they are normalized here.
        texts: unit vectors of the classes, ``[K, D]``.
        truth: class of each sample, ``[B]``.
        scale: what the cosines are multiplied by; CLIP's is 100.
    """
    logits = scale * F.normalize(vectors.float(), dim=-1) @ texts.T
    return F.cross_entropy(logits, truth, reduction="none")


def fare_loss(vectors: Tensor, targets: Tensor) -> Tensor:
    """Squared distance to the clean vectors of the original model, ``[B]`` (FARE, equation 3).

    Schlarmann et al. 2024. It is summed over the dimensions, and nothing is normalized.

    Args:
        vectors: ``[B, D]``.
        targets: ``[B, D]``.
    """
    return (vectors.float() - targets.float()).square().sum(1)


@dataclass(frozen=True, kw_only=True)
class InnerObjective(ABC):
    """An objective over the vectors of ``trainable``."""

    trainable: TrainableEmbedder

    @property
    def parts(self) -> Sequence[Self]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the embedder."""
        return (self.trainable.network,)

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Loss and success of a batch, ``[B]`` each."""
        return self.evaluate(self.trainable.image_features(x))

    @abstractmethod
    def evaluate(self, vectors: Tensor) -> Evaluation:
        """Loss and success of the vectors ``[B, D]``."""

    @abstractmethod
    def take(self, rows: Tensor) -> Self:
        """The same objective for some of the samples."""


@dataclass(frozen=True, kw_only=True)
class CrossEntropyObjective(InnerObjective):
    """Any text but the true one: the cross-entropy of TeCoA.

    Attributes:
        texts: unit vectors of the candidate texts, ``[K, D]``.
        truth: the text of each sample, ``[B]``.
        scale: inverse temperature.
    """

    texts: Tensor
    truth: Tensor
    scale: float | Tensor

    def evaluate(self, vectors: Tensor) -> Evaluation:
        """Cross-entropy, and whether another text is nearer."""
        loss = tecoa_loss(vectors, self.texts, self.truth, self.scale)
        return Evaluation(loss, (vectors.detach() @ self.texts.T).argmax(1) != self.truth)

    def take(self, rows: Tensor) -> Self:
        """The same objective for some of the samples."""
        return replace(self, truth=self.truth[rows])


@dataclass(frozen=True, kw_only=True)
class DistanceObjective(InnerObjective):
    """As far as can be from the clean vectors of the original model: FARE.

    Attributes:
        targets: those vectors, ``[B, D]``.
    """

    targets: Tensor

    def evaluate(self, vectors: Tensor) -> Evaluation:
        """Squared distance; it is never far enough."""
        loss = fare_loss(vectors, self.targets)
        return Evaluation(loss, torch.zeros_like(loss, dtype=torch.bool))

    def take(self, rows: Tensor) -> Self:
        """The same objective for some of the samples."""
        return replace(self, targets=self.targets[rows])


class StepContext(NamedTuple):
    """Where a training is.

    Attributes:
        keys: one key per sample of the step's batch.
        progress: share of all steps that are done, in [0, 1).
    """

    keys: Keys
    progress: float


class BatchLoss(Protocol):
    """A method bound to an embedder and its data: the loss of a batch, a scalar in fp32."""

    def __call__(self, batch: Batch, context: StepContext) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """A way to harden: the loss that an embedder is trained with.

    Attributes:
        part: what of the embedder is trained.
        need: what the data must have.
    """

    part: ClassVar[Part]
    need: ClassVar[Requirement]

    @abstractmethod
    def make_loss(self, trainable: TrainableEmbedder, dataset: Dataset) -> BatchLoss:
        """The loss for this embedder, which still has its original weights."""

    def diagnose(self, trainable: TrainableEmbedder, dataset: Dataset) -> Mapping[str, Diagnosis]:
        """What its augmented texts and images are like to the original model; none, as a rule."""
        return {}

    @property
    def radius(self) -> float:
        """The radius at which the result is measured, in pixel units."""
        return 8 / 255


@dataclass(frozen=True, kw_only=True)
class AdversarialMethod(Method):
    """A method that trains on what a short attack on the embedder has made.

    Attributes:
        eps: L∞ radius in pixel units.
        attack_steps: gradient steps of the attack inside, from a random start.
        attack_step: length of a step in pixel units; 0 takes 2.5 eps / attack_steps.
        momentum: share of the last direction that the attack keeps.
        friendly: a sample that is fooled is attacked no further (Zhang et al. 2020).
        ramp: share of the training over which the radius grows from nothing to ``eps``.

    Raises:
        InvalidInput: a ramp or momentum outside [0, 1].
    """

    eps: Pixels = 2 / 255
    attack_steps: int = 2
    attack_step: Pixels = 0.0
    momentum: Share = 0.0
    friendly: bool = False
    ramp: Share = 0.0

    def __post_init__(self) -> None:
        Threat(eps=self.eps)

    @property
    def radius(self) -> float:
        """The radius that it is trained at."""
        return self.eps

    def radius_share(self, progress: float) -> float:
        """The share of the radius after this share of the training."""
        return 1.0 if progress >= self.ramp else max(progress / self.ramp, 1e-3)

    def generate(self, objective: Objective, x: Tensor, context: StepContext) -> Tensor:
        """What the attack makes of ``x``, ``[B, 3, H, W]`` on the 8-bit grid."""
        share = self.radius_share(context.progress)
        attack = PGD(
            steps=self.attack_steps,
            step=self.attack_step * share,
            momentum=self.momentum,
            keep_best=False,
            early_exit=self.friendly,
        )
        threat = Threat(eps=self.eps * share, grid=LEVELS)
        return attack(objective, x, threat, context.keys.fold("inner")).x
