"""The goal of a targeted attack on classes: the votes go to the target."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from secondlook.decision import Glimpse
from secondlook.goals.base import Goal


@dataclass(frozen=True, kw_only=True)
class WinVotes(Goal):
    """Soft votes: the mean over the draws of the log-probability of the target class.

    It is the objective of an attacker who knows that a vote decides, and on a single
    deterministic look the usual targeted cross-entropy. Where a defence may reject, what a draw
    lacks to be accepted is taken off, in the same units.

    Attributes:
        classes: the target class of each sample, ``[B]``.
        temperature: of the softmax over the scores; about 0.05 for cosines, 1 for logits.
    """

    classes: Tensor
    temperature: float = 1.0

    def loss(self, seen: Glimpse) -> Tensor:
        """Mean log-probability of the target over the draws, less any shortfall, ``[B]``."""
        log_votes = (seen.scores.float() / self.temperature).log_softmax(-1)
        index = self.classes[:, None, None].expand(-1, log_votes.shape[1], 1)
        votes = log_votes.gather(2, index).squeeze(2).mean(1)
        return votes + seen.shortfall / self.temperature

    def reached(self, seen: Glimpse) -> Tensor:
        """Whether every draw answers the target class and is accepted."""
        return (seen.scores.argmax(-1) == self.classes[:, None]).all(1) & seen.accepted

    def take(self, rows: Tensor) -> WinVotes:
        """The goal of some of the samples."""
        return WinVotes(classes=self.classes[rows], temperature=self.temperature)
