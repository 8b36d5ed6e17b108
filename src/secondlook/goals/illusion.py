"""The goal of an illusion: be embedded where the attacker's target is."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from secondlook.decision import Glimpse
from secondlook.goals.base import Goal


@dataclass(frozen=True, kw_only=True)
class AlignTo(Goal):
    """Cosine to a chosen embedding: of a text, or of another image (arXiv 2308.11804, section 3).

    Where a defence may reject, what a draw lacks to be accepted is taken off.

    Attributes:
        vectors: the target embeddings, ``[B, D]``, unit length.
        classes: the class that the target stands for, ``[B]``.
    """

    vectors: Tensor
    classes: Tensor

    def loss(self, seen: Glimpse) -> Tensor:
        """Mean cosine of the draws to the target, less any shortfall, ``[B]``."""
        cosines = F.cosine_similarity(seen.features, self.vectors[:, None], dim=-1)
        return cosines.mean(1) + seen.shortfall

    def reached(self, seen: Glimpse) -> Tensor:
        """Whether every draw answers the target class and is accepted."""
        return (seen.scores.argmax(-1) == self.classes[:, None]).all(1) & seen.accepted

    def take(self, rows: Tensor) -> AlignTo:
        """The goal of some of the samples."""
        return AlignTo(vectors=self.vectors[rows], classes=self.classes[rows])
