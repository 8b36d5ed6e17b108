"""Targeted goals: the votes go to a class, it leads all others, or the vector goes to the target's."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from secondlook.attacks.class_objective import margin
from secondlook.decision import Surrogate
from secondlook.labels import labels
from secondlook.objectives.base import Goal


@dataclass(frozen=True, kw_only=True)
class Targeted(Goal):
    """Soft votes: the mean over the draws of the log-probability of the target class.

    It is the objective of an attacker who knows that a vote decides, and on a single
    deterministic look the usual targeted cross-entropy. Where a defense may reject, what a draw
    lacks to be accepted is taken off, in the same units.

    Attributes:
        classes: the target class of each sample, ``[B]``.
        temperature: of the softmax over the scores; about 0.05 for cosines, 1 for logits.

    Raises:
        InvalidInput: ``classes`` holds no classes.
    """

    classes: Tensor
    temperature: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", labels(self.classes, field="classes"))

    def loss(self, seen: Surrogate) -> Tensor:
        """Mean log-probability of the target over the draws, less any shortfall, ``[B]``."""
        log_votes = (seen.scores.float() / self.temperature).log_softmax(-1)
        index = self.classes[:, None, None].expand(-1, log_votes.shape[1], 1)
        votes = log_votes.gather(2, index).squeeze(2).mean(1)
        return votes + seen.shortfall / self.temperature

    def success(self, seen: Surrogate) -> Tensor:
        """Whether every draw answers the target class, before all others, and is accepted."""
        return answered(seen, self.classes)

    def take(self, rows: Tensor) -> Targeted:
        """The goal of some of the samples."""
        return Targeted(classes=self.classes[rows], temperature=self.temperature)


@dataclass(frozen=True, kw_only=True)
class TargetedMargin(Goal):
    """The lead of the target class over the best other one (Carlini & Wagner 2017, targeted).

    Unlike soft votes, which press all other classes down, it only asks for what success asks for.
    Where a defense may reject, what a draw lacks to be accepted is taken off, in units of the
    scores.

    Attributes:
        classes: the target class of each sample, ``[B]``.

    Raises:
        InvalidInput: ``classes`` holds no classes.
    """

    classes: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", labels(self.classes, field="classes"))

    def loss(self, seen: Surrogate) -> Tensor:
        """Mean lead of the target over the draws, less any shortfall, ``[B]``."""
        return seen.shortfall - margin(seen.scores.float(), self.classes[:, None]).mean(1)

    def success(self, seen: Surrogate) -> Tensor:
        """Whether every draw answers the target class, before all others, and is accepted."""
        return answered(seen, self.classes)

    def take(self, rows: Tensor) -> TargetedMargin:
        """The goal of some of the samples."""
        return TargetedMargin(classes=self.classes[rows])


@dataclass(frozen=True, kw_only=True)
class AlignEmbedding(Goal):
    """Cosine to a chosen embedding: of a text, or of another image (arXiv 2308.11804, section 3).

    Where a defense may reject, what a draw lacks to be accepted is taken off.

    Attributes:
        vectors: the target embeddings, ``[B, D]``, unit length.
        classes: the class that the target stands for, ``[B]``.
    """

    vectors: Tensor
    classes: Tensor

    def loss(self, seen: Surrogate) -> Tensor:
        """Mean cosine of the draws to the target, less any shortfall, ``[B]``."""
        cosines = F.cosine_similarity(seen.features, self.vectors[:, None], dim=-1)
        return cosines.mean(1) + seen.shortfall

    def success(self, seen: Surrogate) -> Tensor:
        """Whether every draw answers the target class, before all others, and is accepted."""
        return answered(seen, self.classes)

    def take(self, rows: Tensor) -> AlignEmbedding:
        """The goal of some of the samples."""
        return AlignEmbedding(vectors=self.vectors[rows], classes=self.classes[rows])


def answered(seen: Surrogate, classes: Tensor) -> Tensor:
    """Whether every draw is accepted and ranks ``classes`` above all others, ``[B]`` bool.

    A tie and a NaN count for the defender.
    """
    return (margin(seen.scores, classes[:, None]) < 0).all(1) & seen.accepted
