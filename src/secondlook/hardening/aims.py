"""What the attack inside a training climbs: an objective over the vectors of a student."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from secondlook.attacks.base import Judged
from secondlook.hardening import losses
from secondlook.hardening.student import Student
from secondlook.randomness import Keys


@dataclass(frozen=True, kw_only=True)
class Aim(ABC):
    """An objective over the vectors of ``student``."""

    student: Student

    @property
    def parts(self) -> Sequence[Self]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the student."""
        return (self.student.network,)

    def __call__(self, x: Tensor, keys: Keys) -> Judged:
        """Loss and success of a batch, ``[B]`` each."""
        return self.judge(self.student.vectors(x))

    @abstractmethod
    def judge(self, vectors: Tensor) -> Judged:
        """Loss and success of the vectors ``[B, D]``."""

    @abstractmethod
    def take(self, rows: Tensor) -> Self:
        """The same objective for some of the samples."""


@dataclass(frozen=True, kw_only=True)
class Confuse(Aim):
    """Any text but the true one: the cross-entropy of TeCoA.

    Attributes:
        texts: unit vectors of the candidate texts, ``[K, D]``.
        truth: the text of each sample, ``[B]``.
        scale: inverse temperature.
    """

    texts: Tensor
    truth: Tensor
    scale: float | Tensor

    def judge(self, vectors: Tensor) -> Judged:
        """Cross-entropy, and whether another text is nearer."""
        loss = losses.tecoa(vectors, self.texts, self.truth, self.scale)
        return Judged(loss, (vectors.detach() @ self.texts.T).argmax(1) != self.truth)

    def take(self, rows: Tensor) -> Self:
        """The same objective for some of the samples."""
        return replace(self, truth=self.truth[rows])


@dataclass(frozen=True, kw_only=True)
class Stray(Aim):
    """As far as can be from the clean vectors of the original model: FARE.

    Attributes:
        targets: those vectors, ``[B, D]``.
    """

    targets: Tensor

    def judge(self, vectors: Tensor) -> Judged:
        """Squared distance; it is never far enough."""
        loss = losses.fare(vectors, self.targets)
        return Judged(loss, torch.zeros_like(loss, dtype=torch.bool))

    def take(self, rows: Tensor) -> Self:
        """The same objective for some of the samples."""
        return replace(self, targets=self.targets[rows])
