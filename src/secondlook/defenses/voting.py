"""The count of votes: rules, ties, and when the outcome cannot change any more."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.decision import Decision
from secondlook.defenses.curtailment import stopping_leads

Rule = Literal["plurality", "majority", "mean"]
RULES: tuple[Rule, ...] = get_args(Rule)


class Poll:
    """Votes on a batch ``like`` as they come in, ``votes`` voters a sample.

    Where ``error`` is above 0, a vote counts as settled as soon as the chance that the outcome is not that of
    all votes is at most that; see :mod:`~secondlook.defenses.curtailment`.
    """

    def __init__(self, like: Tensor, votes: int, rule: Rule, error: float = 0.0) -> None:
        self.votes, self.rule, self.samples = votes, rule, len(like)
        self.leads = torch.tensor(stopping_leads(votes, error) if error else range(1, votes + 2), device=like.device)
        self.tally: Tensor | None = None
        self.draws = torch.zeros(len(like), dtype=torch.long, device=like.device)

    def count(self, rows: Tensor, features: Tensor, scores: Tensor) -> None:
        """Adds ``[R, n, D]`` and ``[R, n, K]`` of some draws for the samples ``rows``."""
        chosen = F.one_hot(scores.argmax(-1), scores.shape[-1]).sum(1)
        if self.tally is None:
            self.tally = chosen.new_zeros(self.samples, scores.shape[-1])
            self.features = features.new_zeros(self.samples, features.shape[-1])
            self.scores = scores.new_zeros(self.samples, scores.shape[-1])
        self.tally[rows] += chosen
        self.features[rows] += features.sum(1)
        self.scores[rows] += scores.sum(1)
        self.draws[rows] += features.shape[1]

    def open(self) -> Tensor:
        """The samples whose outcome further votes could still change."""
        if self.tally is None:
            return torch.arange(self.samples, device=self.draws.device)
        left = self.votes - self.draws
        if self.rule == "mean":
            return torch.nonzero(left > 0).flatten()
        first, second = _leaders(self.tally)
        if self.rule == "plurality":
            settled = first - second > left
        else:
            settled = (2 * first > self.votes) | (2 * (first + left) <= self.votes)
        return torch.nonzero(~settled & ~self._curtailed() & (left > 0)).flatten()

    @property
    def first(self) -> int:
        """The draws before which nothing can be settled."""
        certain = self.votes // 2 + 1
        return next((n for n, lead in enumerate(self.leads[:certain].tolist()) if lead <= n), certain)

    def _curtailed(self) -> Tensor:
        """The samples whose first class is so far ahead of all others together that its vote has stopped."""
        assert self.tally is not None
        return 2 * self.tally.amax(1) - self.draws >= self.leads[self.draws]

    def decision(self, own: Tensor) -> Decision:
        """What the votes say; suspicion is how far the reconstructions are from the input."""
        assert self.tally is not None, "a poll without a vote has no decision"
        draws = self.draws[:, None]
        mean, scores = self.features / draws, self.scores / draws
        leader, _ = _leaders(self.tally)
        accepted = (2 * leader > self.votes) | self._curtailed() if self.rule == "majority" else leader > 0
        ranked = scores if self.rule == "mean" else self.tally + _below_one(scores)
        suspicion = 1 - F.cosine_similarity(mean, own, dim=1)
        return Decision(
            outputs=ranked, features=mean, accepted=accepted, suspicion=suspicion, votes=self.tally, draws=self.draws
        )


def _leaders(tally: Tensor) -> tuple[Tensor, Tensor]:
    top = tally.topk(2, dim=1).values
    return top[:, 0], top[:, 1]


def _below_one(scores: Tensor) -> Tensor:
    """Scores squeezed into [0, 1) in their order: they break ties of votes and nothing else."""
    low, high = scores.amin(1, keepdim=True), scores.amax(1, keepdim=True)
    return 0.99 * (scores - low) / (high - low).clamp_min(1e-12)
