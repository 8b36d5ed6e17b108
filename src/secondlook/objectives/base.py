"""What an attacker wants, and the objective that a goal and a guarded model make together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, Self

import torch
from torch import Tensor, nn

from secondlook.attacks.base import Evaluation, Objective
from secondlook.decision import Surrogate
from secondlook.labels import labels
from secondlook.randomness import Keys

Gradient = Literal["full", "bpda"]


class Goal(ABC):
    """What is wanted of a batch, for each sample."""

    @abstractmethod
    def loss(self, seen: Surrogate) -> Tensor:
        """``[B]``, higher is nearer to the goal; the mean over the draws (EOT)."""

    @abstractmethod
    def success(self, seen: Surrogate) -> Tensor:
        """``[B]`` bool, whether all draws decide as the attacker wants."""

    @abstractmethod
    def take(self, rows: Tensor) -> Self:
        """The goal of some of the samples."""


class GuardedModel(Protocol):
    """What an objective asks of a model behind a defense, though it need not know the defense."""

    @property
    def modules(self) -> Sequence[nn.Module]: ...

    @property
    def stochastic(self) -> bool: ...

    @property
    def rejects(self) -> bool: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    def surrogate(self, x: Tensor, keys: Keys, draws: int = 1, gradient: Gradient = "full") -> Surrogate: ...

    def views(self, x: Tensor, keys: Keys, draws: int = 1, gradient: Gradient = "full") -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class GuardedObjective:
    """The objective of one goal against one guarded model.

    Attributes:
        goal: what is wanted.
        victim: the guarded model that is to be fooled.
        draws: fresh draws of a randomized victim in each step (EOT), folded into the batch.
        gradient: ``full``, or ``bpda`` past the transform.

    Raises:
        InvalidInput: the goal's classes are none of the victim's.
    """

    goal: Goal
    victim: GuardedModel
    draws: int = 1
    gradient: Gradient = "full"

    def __post_init__(self) -> None:
        wanted, known = getattr(self.goal, "classes", None), self.victim.classes
        if wanted is not None and known:
            labels(wanted, classes=len(known), field="classes")

    @property
    def parts(self) -> Sequence[GuardedObjective]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the victim."""
        return self.victim.modules

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Loss and success of a batch, ``[B]`` each."""
        seen = self.victim.surrogate(x, keys, self.draws, self.gradient)
        return Evaluation(self.goal.loss(seen), self.goal.success(seen))

    def take(self, rows: Tensor) -> Self:
        """The same objective for some of the samples."""
        return replace(self, goal=self.goal.take(rows))


@dataclass(frozen=True, kw_only=True)
class ThroughViews:
    """An objective on a model's input, for who knows the transform in front and differentiates it.

    Attributes:
        objective: what is wanted of the model.
        victim: the model behind its defense.
        draws: fresh views in each step (EOT), folded into the batch; their mean loss counts.
        gradient: through the transform, or past it.
    """

    objective: Objective
    victim: GuardedModel
    draws: int = 1
    gradient: Gradient = "full"

    @property
    def parts(self) -> Sequence[ThroughViews]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the model and of the defense."""
        return list(dict.fromkeys([*self.objective.modules, *self.victim.modules]))

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Loss and success of a batch, ``[B]`` each; a success in every view."""
        draws = self.draws if self.victim.stochastic else 1
        every = torch.arange(len(x)).repeat_interleave(draws)
        views = self.victim.views(x, keys, draws, self.gradient)
        evaluation = self.objective.take(every)(views, keys.repeat(draws))
        loss, success = (part.view(len(x), draws) for part in evaluation)
        return Evaluation(loss.mean(1), success.all(1))

    def take(self, rows: Tensor) -> ThroughViews:
        """The same objective for some of the samples."""
        return replace(self, objective=self.objective.take(rows))


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

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """The mean loss; a success where it is one for every member."""
        evaluation = [member(x, keys.fold("member", i)) for i, member in enumerate(self.members)]
        loss = torch.stack([each.loss for each in evaluation]).mean(0)
        return Evaluation(loss, torch.stack([each.success for each in evaluation]).all(0))

    def take(self, rows: Tensor) -> Self:
        """The same ensemble for some of the samples."""
        return replace(self, members=tuple(member.take(rows) for member in self.members))
