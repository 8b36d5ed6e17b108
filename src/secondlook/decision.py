"""What a guarded model answers, and the three outcomes that an answer can have."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from secondlook.labels import labels


class Outcome(StrEnum):
    """What became of one sample."""

    CORRECT = "correct"
    WRONG = "wrong"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The answer of a guarded model to a batch of inputs.

    Attributes:
        outputs: what is answered: scores ``[B, K]`` of a classifier, which rank the classes; unit
            vectors ``[B, D]`` of an embedder; a text for each input of a captioner.
        features: ``[B, D]``, the mean over the draws of the model's features; ``[B, 0]`` where
            the model has none.
        accepted: ``[B]`` bool; a rejected input has no answer.
        suspicion: ``[B]``, higher means more likely attacked.
        votes: ``[B, K]``, how many draws chose each class; ``[B, 0]`` where there are no classes.
        draws: ``[B]``, how many draws were made before the answer was certain.
    """

    outputs: Tensor | list[str]
    features: Tensor
    accepted: Tensor
    suspicion: Tensor
    votes: Tensor
    draws: Tensor

    @property
    def scores(self) -> Tensor:
        """The outputs of a classifier, ``[B, K]``, or of an embedder, ``[B, D]``."""
        assert isinstance(self.outputs, Tensor), "a captioner answers with texts"
        return self.outputs

    @property
    def texts(self) -> list[str]:
        """The outputs of a captioner."""
        assert isinstance(self.outputs, list), "only a captioner answers with texts"
        return self.outputs

    @property
    def answer(self) -> Tensor:
        """The first class of each sample, ``[B]``."""
        return self.scores.argmax(1)

    def outcomes(self, truth: Tensor) -> list[Outcome]:
        """One of three for each sample; a rejection is never *correct*, and nor are NaN or infinite scores.

        Args:
            truth: the right classes ``[B]``.

        Raises:
            InvalidInput: they are no classes of the model, or not one for each sample.
        """
        sound = ~(self.scores.isnan() | self.scores.isposinf()).any(1)
        right = ((self.answer == self._labels(truth, "truth")) & sound).tolist()
        return [
            (Outcome.CORRECT if ok else Outcome.WRONG) if accepted else Outcome.REJECTED
            for ok, accepted in zip(right, self.accepted.tolist(), strict=True)
        ]

    def in_top(self, k: int, classes: Tensor) -> Tensor:
        """Whether an accepted answer ranks ``classes`` among its first ``k``, ``[B]`` bool.

        Ties and NaN count against the named class, so that a constant answer ranks nothing first.
        """
        at = self._labels(classes, "classes")[:, None]
        behind = self.scores < self.scores.gather(1, at)
        ahead = (~behind).sum(1) - 1
        return (ahead < k) & self.accepted

    def _labels(self, given: Tensor, field: str) -> Tensor:
        count, classes = self.scores.shape
        return labels(given, count, classes, field).to(self.scores.device)


@dataclass(frozen=True, kw_only=True)
class Surrogate:
    """The differentiable side of a guarded model, which an adaptive attacker uses.

    Attributes:
        features: ``[B, N, D]``, what each of the N draws saw.
        scores: ``[B, N, K]``, the class scores of each draw.
        acceptance: ``[B, N]``, how far each draw is from being rejected, below 0 where it is, in
            units of the scores; None where nothing is ever rejected.
        auxiliary: ``[B, N, M, K]``, scores of M further models that have to agree; None for none.
    """

    features: Tensor
    scores: Tensor
    acceptance: Tensor | None = None
    auxiliary: Tensor | None = None

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
