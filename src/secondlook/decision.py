"""What a defence answers, and the three outcomes that an answer can have."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor


class Outcome(StrEnum):
    """What became of one sample."""

    CORRECT = "correct"
    WRONG = "wrong"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The answer of a defence to a batch of inputs.

    Attributes:
        scores: ``[B, K]``, ranks the classes; the first is the answer.
        features: ``[B, D]``, what was seen: the mean over the draws of the model's features.
        accepted: ``[B]`` bool; a rejected input has no answer.
        suspicion: ``[B]``, higher means more likely attacked.
        votes: ``[B, K]``, how many draws chose each class.
        draws: ``[B]``, how many draws were looked at before the answer was certain.
    """

    scores: Tensor
    features: Tensor
    accepted: Tensor
    suspicion: Tensor
    votes: Tensor
    draws: Tensor

    @property
    def answer(self) -> Tensor:
        """The first class of each sample, ``[B]``."""
        return self.scores.argmax(1)

    def outcomes(self, truth: Tensor) -> list[Outcome]:
        """One of three for each sample; a rejection is never a success and never *correct*."""
        right = (self.answer == truth).tolist()
        return [
            (Outcome.CORRECT if ok else Outcome.WRONG) if accepted else Outcome.REJECTED
            for ok, accepted in zip(right, self.accepted.tolist(), strict=True)
        ]

    def in_top(self, k: int, classes: Tensor) -> Tensor:
        """Whether an accepted answer ranks ``classes`` among its first ``k``, ``[B]`` bool.

        Ties and NaN count against the named class, so that a constant answer ranks nothing first.
        """
        behind = self.scores < self.scores.gather(1, classes[:, None])
        ahead = (~behind).sum(1) - 1
        return (ahead < k) & self.accepted


def concatenate(parts: list[Decision]) -> Decision:
    """One decision over the samples of all ``parts``, in their order."""
    fields = ("scores", "features", "accepted", "suspicion", "votes", "draws")
    return Decision(**{f: torch.cat([getattr(part, f) for part in parts]) for f in fields})


@dataclass(frozen=True, kw_only=True)
class Glimpse:
    """The differentiable side of a defence, which an adaptive attacker climbs.

    Attributes:
        features: ``[B, N, D]``, what each of the N draws saw.
        scores: ``[B, N, K]``, the class scores of each draw.
        acceptance: ``[B, N]``, how far each draw is from being rejected, below 0 where it is, in
            units of the scores; None where nothing is ever rejected.
        opinions: ``[B, N, M, K]``, scores of M further models that have to agree; None for none.
    """

    features: Tensor
    scores: Tensor
    acceptance: Tensor | None = None
    opinions: Tensor | None = None

    @property
    def shortfall(self) -> Tensor:
        """How far the draws are from being accepted, 0 or below, mean over the draws, ``[B]``."""
        if self.acceptance is None:
            return self.scores.new_zeros(len(self.scores), dtype=torch.float32)
        return self.acceptance.float().clamp_max(0).mean(1)

    @property
    def accepted(self) -> Tensor:
        """Whether no draw would be rejected, ``[B]`` bool."""
        if self.acceptance is None:
            return torch.ones(len(self.scores), dtype=torch.bool, device=self.scores.device)
        return (self.acceptance >= 0).all(1)

    @property
    def share(self) -> Tensor:
        """The share of the draws that chose each class, ``[B, K]``; not differentiable."""
        chosen = self.scores.argmax(-1)
        return torch.nn.functional.one_hot(chosen, self.scores.shape[-1]).float().mean(1)
