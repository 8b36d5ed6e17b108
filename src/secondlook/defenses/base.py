"""What every defence answers, and the honest parts that are the same for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from secondlook.data.base import Source
from secondlook.decision import Decision, Glimpse
from secondlook.errors import InvalidInput
from secondlook.models.base import Classifier, Model, evaluating
from secondlook.models.engine import exactly
from secondlook.randomness import Keys

Gradient = Literal["full", "bpda"]
RUNTIME: dict[str, Any] = {"runtime": True}
"""Marks a field that is handed over at run time and is not a setting of the user."""


@dataclass(frozen=True, kw_only=True)
class Defence(ABC):
    """A classifier with something around it that decides whether and what to answer.

    Attributes:
        model: what is defended; an embedder comes wrapped as ``ZeroShot``.
    """

    model: Classifier = field(metadata=RUNTIME)

    @property
    def parts(self) -> tuple[Model, ...]:
        """All models inside; what the defence decides depends on each of them."""
        return (self.model,)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """All networks inside."""
        return tuple(module for part in self.parts for module in part.modules)

    @property
    def calibration(self) -> Source | None:
        """The clean data that a threshold comes from; None where none does."""
        return None

    @property
    def stochastic(self) -> bool:
        """Whether two decisions on one input may differ."""
        return False

    @property
    def unseen(self) -> frozenset[str]:
        """Settings that :meth:`glimpse` does not depend on: an attack need not be made anew."""
        return frozenset()

    def prepare(self) -> None:  # noqa: B027
        """Does what is done once and is no part of a decision's cost, such as calibration.

        Whoever counts passes calls it first; a defence that was not prepared does it by itself.
        """

    @abstractmethod
    def judge(self, x: Tensor, keys: Keys) -> Decision:
        """The decision, without a gradient; a subclass writes this."""

    @abstractmethod
    def glimpse(
        self, x: Tensor, keys: Keys, draws: int = 1, gradient: Gradient = "full"
    ) -> Glimpse:
        """The surrogate that an adaptive attack differentiates: ``draws`` fresh looks at ``x``.

        ``gradient`` is ``full`` (through all that has a useful one) or ``bpda`` (straight past
        the purifier, the cheap variant).
        """

    def decide(self, x: Tensor, keys: Keys) -> Decision:
        """Decides on ``[B, 3, H, W]`` in [0, 1], in fp32; ``keys``, one per sample, feed its draws.

        Raises:
            InvalidInput: no pixels in [0, 1], or not one key per sample.
        """
        if len(keys) != len(x):
            raise InvalidInput(f"{len(keys)} keys for {len(x)} samples; one key per sample")
        with torch.no_grad(), evaluating(self.modules), exactly(self.parts):
            return self.judge(x, keys)


def single(scores: Tensor, features: Tensor) -> Decision:
    """The decision of one look that accepts everything."""
    n, classes = scores.shape
    votes = torch.nn.functional.one_hot(scores.argmax(1), classes)
    ones = torch.ones(n, dtype=torch.long, device=scores.device)
    return Decision(
        scores=scores, features=features, accepted=ones.bool(),
        suspicion=torch.zeros(n, device=scores.device), votes=votes, draws=ones,
    )  # fmt: skip
