"""What an attacker wants, and the objective that a goal and a victim make together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self

import torch
from torch import Tensor, nn

from secondlook.attacks.base import Judged, Objective
from secondlook.decision import Glimpse
from secondlook.randomness import Keys


class Goal(ABC):
    """A wish about a batch, one for each sample."""

    @abstractmethod
    def loss(self, seen: Glimpse) -> Tensor:
        """``[B]``, higher is nearer to the goal; the mean over the draws (EOT)."""

    @abstractmethod
    def reached(self, seen: Glimpse) -> Tensor:
        """``[B]`` bool, whether the draws that were seen would decide as the attacker wants."""

    @abstractmethod
    def take(self, rows: Tensor) -> Self:
        """The goal of some of the samples."""


class Victim(Protocol):
    """What can be glimpsed: a defence, though a goal need not know that."""

    @property
    def modules(self) -> Sequence[nn.Module]: ...

    def glimpse(
        self, x: Tensor, keys: Keys, draws: int = 1, gradient: Literal["full", "bpda"] = "full"
    ) -> Glimpse: ...


@dataclass(frozen=True, kw_only=True)
class Aim:
    """The objective of one goal against one victim.

    Attributes:
        goal: what is wanted.
        victim: who is to be fooled.
        draws: fresh looks of a randomised victim in each step (EOT), folded into the batch.
        gradient: ``full``, or ``bpda`` past the purifier.
    """

    goal: Goal
    victim: Victim
    draws: int = 1
    gradient: Literal["full", "bpda"] = "full"

    @property
    def parts(self) -> Sequence[Aim]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the victim."""
        return self.victim.modules

    def __call__(self, x: Tensor, keys: Keys) -> Judged:
        """Loss and success of a batch, ``[B]`` each."""
        seen = self.victim.glimpse(x, keys, self.draws, self.gradient)
        return Judged(self.goal.loss(seen), self.goal.reached(seen))

    def take(self, rows: Tensor) -> Aim:
        """The same objective for some of the samples."""
        return replace(self, goal=self.goal.take(rows))


@dataclass(frozen=True, kw_only=True)
class Ensemble:
    """Several objectives over the same inputs, each perhaps with a space of its own.

    Attributes:
        members: the objectives.
        split: whether an attack that can takes one step for each member in turn.
    """

    members: tuple[Objective, ...]
    split: bool = True

    @property
    def parts(self) -> Sequence[Objective]:
        """The members, or the ensemble as a whole."""
        return self.members if self.split else (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of all victims."""
        return [module for member in self.members for module in member.modules]

    def __call__(self, x: Tensor, keys: Keys) -> Judged:
        """The mean loss; the goal is reached where every member says so."""
        judged = [member(x, keys.fold("member", i)) for i, member in enumerate(self.members)]
        loss = torch.stack([each.loss for each in judged]).mean(0)
        return Judged(loss, torch.stack([each.reached for each in judged]).all(0))

    def take(self, rows: Tensor) -> Ensemble:
        """The same ensemble for some of the samples."""
        return replace(self, members=tuple(member.take(rows) for member in self.members))
