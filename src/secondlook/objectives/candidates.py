"""What an attacker could be content with, several of it tried, and judged by what is answered in the end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn

from secondlook.attacks.base import Evaluation, Objective
from secondlook.models.base import evaluating
from secondlook.randomness import Keys


class Found(NamedTuple):
    """What can be aimed at.

    Attributes:
        counts: of each image how many there are.
        objective: makes the objective of the one with the given number of each image; -1 is none.
    """

    counts: tuple[int, ...]
    objective: Callable[[tuple[int, ...]], Objective]


Saying = Callable[[tuple[str, ...]], Objective]
"""The objective that has one text said of each image; an empty text is none."""


Judge = Callable[[Tensor, Keys, tuple[int, ...]], Tensor]
"""Whether the attacker has what is wanted of images ``[B, ...]``, which are some rows of a batch."""


class Judging(Protocol):
    """What is asked in the end: a guarded model."""

    @property
    def modules(self) -> Sequence[nn.Module]: ...

    @property
    def stochastic(self) -> bool: ...


@torch.no_grad()
def easiest(saying: Saying, options: Sequence[Sequence[str]], x: Tensor, keys: Keys, count: int) -> list[list[str]]:
    """Of the texts that an attacker could aim at the ``count`` that the clean image is nearest to.

    Nearest by the loss that is to be maximized: how likely the text is to be said of the clean image,
    and how suspicious a detector is of the two together.

    Args:
        saying: makes the objective of a text for each image.
        options: of each image the texts; none, one or many.
        x: the clean images, ``[B, 3, H, W]``.
        keys: one for each image.
        count: texts that are kept of each at most.
    """
    width = max(map(len, options), default=0)
    losses = torch.full((len(x), width), -torch.inf, device=x.device)
    for at in range(width):
        rows = torch.tensor([row for row, texts in enumerate(options) if at < len(texts)], device=x.device)
        texts = tuple(options[row][at] for row in rows.tolist())
        objective = saying(texts)
        with evaluating(objective.modules):
            losses[rows, at] = objective(x[rows], keys[rows]).loss.to(losses)
    order = losses.argsort(dim=1, descending=True, stable=True).tolist()
    return [[texts[at] for at in ranks if at < len(texts)][:count] for texts, ranks in zip(options, order, strict=True)]


class Candidates:
    """What an attacker could be content with for each image of a batch.

    It is looked for when it is first asked for.

    Args:
        name: what one of them is called in a report: ``near miss``.
        count: how many are tried at most.
        find: gives, of each image, how many there are, and makes the objective of one of each.
    """

    def __init__(self, name: str, count: int, find: Callable[[], Found]) -> None:
        self.name, self.count, self._find = name, count, find

    @cached_property
    def found(self) -> Found:
        """What there is."""
        return self._find()

    @property
    def first(self) -> Objective:
        """The objective of the first candidate of each image."""
        return self.found.objective(tuple(0 if count else -1 for count in self.found.counts))

    @property
    def missing(self) -> str:
        """A sentence of the images that have none; empty where each has one."""
        every, none = len(self.found.counts), sum(not count for count in self.found.counts)
        return f"{none} of {every} images have no {self.name}, and are left as they are" if none else ""


@dataclass(frozen=True, kw_only=True)
class AnsweredGoal:
    """An objective whose success is what the victim answers in the end, as the task scores it.

    Where a gradient is asked for, loss and success are those of ``objective`` alone, which is cheap. An
    evaluation without a gradient asks the victim for its answer, with draws by its keys.

    Attributes:
        victim: the model behind its defense.
        judge: whether its answer is what the attacker is after.
        rows: which of the images of the batch these are.
        candidates: what may be tried.
        whole: what is differentiated; None for the first of ``candidates``.
    """

    victim: Judging
    judge: Judge
    rows: tuple[int, ...]
    candidates: Candidates
    whole: Objective | None = None

    @cached_property
    def objective(self) -> Objective:
        """What is differentiated."""
        return self.whole if self.whole is not None else self.candidates.first.take(self._at)

    @property
    def _at(self) -> Tensor:
        return torch.tensor(self.rows, dtype=torch.long)

    @property
    def parts(self) -> Sequence[AnsweredGoal]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the victim and of what is differentiated."""
        return list(dict.fromkeys([*self.objective.modules, *self.victim.modules]))

    @property
    def stochastic(self) -> bool:
        """Whether two evaluations of one input may differ."""
        return self.victim.stochastic

    @property
    def notices(self) -> tuple[str, ...]:
        """What is to be known of how candidates are tried."""
        return (self.candidates.missing,) if self.whole is None and self.candidates.missing else ()

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Loss and success of a batch, ``[B]`` each."""
        found = self.objective(x, keys)
        if found.loss.requires_grad:
            return found
        success = self.judge(x, keys.fold("answer"), self.rows)
        return Evaluation(found.loss, success.to(found.loss.device))

    def manners(self, full: bool, keys: Keys) -> Mapping[str, Objective | str]:
        """The candidates in turn, and then the ways to climb an objective that is none of them."""
        candidates, turns = self.candidates, dict[str, Objective | str]()
        if any(candidates.found.counts):
            turns[candidates.name] = CandidateObjectives(goal=self)
        if candidates.missing:
            turns[f"no {candidates.name}"] = candidates.missing
        if self.whole is None and any(candidates.found.counts):
            return turns
        own = getattr(self.whole, "manners", None)
        return turns | (dict(own(full, keys)) if own is not None else {"as-is": self})

    def take(self, rows: Tensor) -> AnsweredGoal:
        """The same objective for some of the samples."""
        whole = None if self.whole is None else self.whole.take(rows)
        return replace(self, whole=whole, rows=tuple(self.rows[row] for row in rows.tolist()))


@dataclass(frozen=True, kw_only=True)
class CandidateObjectives:
    """A goal that an attack reaches by whichever candidate of each image comes closest.

    Attributes:
        goal: judges what was reached.
    """

    goal: AnsweredGoal

    @property
    def parts(self) -> Sequence[CandidateObjectives]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the goal."""
        return self.goal.modules

    @property
    def stochastic(self) -> bool:
        """Whether two evaluations of one input may differ."""
        return self.goal.stochastic

    @property
    def counts(self) -> tuple[int, ...]:
        """Of each image how many candidates there are."""
        return tuple(self.goal.candidates.found.counts[row] for row in self.goal.rows)

    def manners(self, full: bool, keys: Keys) -> Mapping[str, Objective | str]:
        """Those of the goal."""
        return self.goal.manners(full, keys)

    def choosing(self, chosen: Sequence[int]) -> Objective:
        """What is differentiated for the candidate with the given number of each image."""
        found = self.goal.candidates.found
        every = [-1] * len(found.counts)
        for row, number in zip(self.goal.rows, chosen, strict=True):
            every[row] = number
        return found.objective(tuple(every)).take(torch.tensor(self.goal.rows, dtype=torch.long))

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Loss and success of the goal."""
        return self.goal(x, keys)

    def take(self, rows: Tensor) -> CandidateObjectives:
        """The same for some of the samples."""
        return CandidateObjectives(goal=self.goal.take(rows))
