"""The goal of an untargeted attack on classes: any wrong answer, and that it is accepted."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from secondlook.attacks.contest import View, fooled, margin
from secondlook.decision import Glimpse
from secondlook.goals.base import Aim, Goal
from secondlook.randomness import Keys


@dataclass(frozen=True, kw_only=True)
class Mislead(Goal):
    """A wrong answer that is not rejected; its loss is the lead of the best wrong class.

    Attributes:
        truth: the class of each sample, ``[B]``.
    """

    truth: Tensor

    def loss(self, seen: Glimpse) -> Tensor:
        """Lead of the best wrong class over truth (and rejection), mean over draws, ``[B]``."""
        view = viewed(seen)
        return margin(view.scores, losing(self.truth, seen)).mean(1)

    def reached(self, seen: Glimpse) -> Tensor:
        """Whether every draw is accepted and wrong."""
        return fooled(viewed(seen).scores, losing(self.truth, seen))

    def take(self, rows: Tensor) -> Mislead:
        """The goal of some of the samples."""
        return Mislead(truth=self.truth[rows])


@dataclass(frozen=True, kw_only=True)
class Bout(Aim):
    """A :class:`Mislead` against a victim, as a contest: an attack may bring its own loss.

    Attributes:
        rejects: whether the victim can reject.
        classes: how many classes K the victim knows, without the rejection.
    """

    goal: Mislead
    rejects: bool = False
    classes: int = 2

    @property
    def losing(self) -> Tensor:
        """Truth, and the rejection where there is one, ``[B, L]``."""
        truth = self.goal.truth[:, None]
        if not self.rejects:
            return truth
        return torch.cat([truth, torch.full_like(truth, self.classes)], 1)

    def look(self, x: Tensor, keys: Keys) -> View:
        """Scores (K + 1 of them where the victim can reject) and opinions, of every draw."""
        return viewed(self.victim.glimpse(x, keys, self.draws, self.gradient))

    def drawing(self, draws: int) -> Bout:
        """The same bout with another number of fresh looks in each step."""
        return replace(self, draws=draws)

    def take(self, rows: Tensor) -> Bout:
        """The same bout for some of the samples."""
        return replace(self, goal=self.goal.take(rows))


def viewed(seen: Glimpse) -> View:
    """A glimpse as an attack sees it: acceptance becomes one more score, the last.

    The column is the best score less the acceptance, so that it leads where that is below zero
    (the K + 1 logits of arXiv 2412.10353, section 3).
    """
    scores = seen.scores
    if seen.acceptance is not None:
        rejection = scores.amax(2) - seen.acceptance
        scores = torch.cat([scores, rejection[..., None]], 2)
    opinions = seen.opinions
    if opinions is None:
        opinions = seen.scores.new_zeros(*seen.scores.shape[:2], 0, seen.scores.shape[2])
    return View(scores, opinions)


def losing(truth: Tensor, seen: Glimpse) -> Tensor:
    """Truth, and the rejection's column where the glimpse has one, ``[B, L]``."""
    if seen.acceptance is None:
        return truth[:, None]
    return torch.stack([truth, torch.full_like(truth, seen.scores.shape[2])], 1)
