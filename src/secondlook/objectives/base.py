"""What an attacker wants, and the objective that a goal and a guarded model make together."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol, Self

import torch
from torch import Tensor, nn

from secondlook.attacks.base import Evaluation, Objective
from secondlook.decision import Surrogate
from secondlook.labels import labels
from secondlook.randomness import Keys

Gradient = Literal["full", "bpda"]
EOT: Final = (1, 4, 16)
"""Draws in each step that the full budget tries."""


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

    @property
    def transforms(self) -> bool: ...

    @property
    def adapts(self) -> bool: ...

    @property
    def gated(self) -> bool: ...

    @property
    def past_gate(self) -> GuardedModel: ...

    @property
    def undefended(self) -> GuardedModel: ...

    @property
    def iterates(self) -> Sequence[GuardedModel]: ...

    @property
    def links(self) -> Mapping[str, GuardedModel]: ...

    @property
    def ungated(self) -> GuardedModel: ...

    def surrogate(self, x: Tensor, keys: Keys, draws: int = 1, gradient: Gradient = "full") -> Surrogate: ...

    def views(self, x: Tensor, keys: Keys, draws: int = 1, gradient: Gradient = "full") -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class RecordedDraws:
    """An objective whose randomness stands still: each evaluation has the same draws.

    Attributes:
        objective: what is wanted.
        keys: of all evaluations, one for each sample.
    """

    objective: Objective
    keys: Keys

    @property
    def parts(self) -> Sequence[RecordedDraws]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the objective."""
        return self.objective.modules

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Loss and success of a batch under the recorded draws, ``[B]`` each."""
        return self.objective(x, self.keys)

    def take(self, rows: Tensor) -> RecordedDraws:
        """The same objective for some of the samples."""
        return RecordedDraws(objective=self.objective.take(rows), keys=self.keys[rows])


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

    @property
    def stochastic(self) -> bool:
        """Whether two evaluations of one input may differ."""
        return self.victim.stochastic

    def manners(self, full: bool, keys: Keys) -> Mapping[str, Objective | str]:
        """The ways to climb it, for :class:`~secondlook.attacks.synthesis.Synthesis`."""
        victim, found = self.victim, dict[str, Objective | str]()
        changes = victim.transforms or victim.adapts
        if changes or victim.rejects:
            found["bare"] = replace(self, victim=victim.undefended)
        found["as-is"] = self
        if changes and self.gradient == "full":
            found["straight-through"] = replace(self, gradient="bpda")
        if victim.gated:
            found["past the gate"] = replace(self, victim=victim.past_gate)
        if full:
            found |= self._further(keys)
        return found

    def _further(self, keys: Keys) -> Mapping[str, Objective | str]:
        """The manners of the full budget alone."""
        gate, drawn = self.victim.rejects, self.stochastic
        found: dict[str, Objective | str] = {
            "gate taken away": replace(self, victim=self.victim.ungated) if gate else "nothing is ever rejected",
            "recorded draws": RecordedDraws(objective=self, keys=keys) if drawn else "the defense draws nothing",
        }
        for draws in EOT:
            found[f"{draws} draws"] = replace(self, draws=draws) if drawn else "the defense draws nothing"
        members = [replace(self, victim=victim) for victim in self.victim.iterates]
        found |= {f"{name} alone": replace(self, victim=victim) for name, victim in self.victim.links.items()}
        found["iterates"] = self._iterates(members) if members else "the defense has no loop of several steps"
        return found

    def _iterates(self, members: Sequence[GuardedObjective]) -> Objective:
        """The mean over the same defense after fewer steps of its loop."""
        return Ensemble(members=tuple(members), split=False)


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

    @property
    def stochastic(self) -> bool:
        """Whether two evaluations of one input may differ."""
        return self.victim.stochastic

    def manners(self, full: bool, keys: Keys) -> Mapping[str, Objective | str]:
        """The ways to climb it, for :class:`~secondlook.attacks.synthesis.Synthesis`."""
        if not self.victim.transforms:
            return {"as-is": self}
        found: dict[str, Objective | str] = {"bare": self.objective, "as-is": self}
        if self.gradient == "full":
            found["straight-through"] = replace(self, gradient="bpda")
        if full and self.stochastic:
            found["recorded draws"] = RecordedDraws(objective=self, keys=keys)
            found |= {f"{draws} draws": replace(self, draws=draws) for draws in EOT}
        return found


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


@dataclass(frozen=True, kw_only=True)
class TransferThenQuery:
    """An objective on a surrogate and one on the victim, for an attack that transfers, and then asks.

    Attributes:
        surrogate: what the first stage optimizes by gradients; of several surrogates an ensemble.
        victim: what the second stage asks, and what says whether the goal is reached.
    """

    surrogate: Objective
    victim: Objective

    @property
    def parts(self) -> Sequence[Objective]:
        """Both stages, in their order."""
        return (self.surrogate, self.victim)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of both."""
        return list(dict.fromkeys([*self.surrogate.modules, *self.victim.modules]))

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """What the victim's stage says."""
        return self.victim(x, keys)

    def take(self, rows: Tensor) -> Self:
        """The same objective for some of the samples."""
        return replace(self, surrogate=self.surrogate.take(rows), victim=self.victim.take(rows))
