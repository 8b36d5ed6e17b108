"""The untargeted goal on classes: any wrong answer, and that it is accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from secondlook.attacks.base import Objective
from secondlook.attacks.class_objective import Logits, fooled, margin
from secondlook.decision import Surrogate
from secondlook.errors import InvalidInput
from secondlook.labels import labels
from secondlook.objectives.base import Ensemble, Goal, GuardedObjective
from secondlook.objectives.latent import LatentDistance
from secondlook.randomness import Keys


@dataclass(frozen=True, kw_only=True)
class Untargeted(Goal):
    """A wrong answer that is not rejected; its loss is the lead of the best wrong class.

    Attributes:
        truth: the class of each sample, ``[B]``.

    Raises:
        InvalidInput: ``truth`` holds no classes.
    """

    truth: Tensor

    def __post_init__(self) -> None:
        object.__setattr__(self, "truth", labels(self.truth, field="truth"))

    def loss(self, seen: Surrogate) -> Tensor:
        """Lead of the best wrong class over truth (and rejection), mean over draws, ``[B]``."""
        view = with_rejection(seen)
        return margin(view.scores, losing(self.truth, seen)).mean(1)

    def success(self, seen: Surrogate) -> Tensor:
        """Whether every draw is accepted and wrong."""
        return fooled(with_rejection(seen).scores, losing(self.truth, seen))

    def take(self, rows: Tensor) -> Untargeted:
        """The goal of some of the samples."""
        return Untargeted(truth=self.truth[rows])


@dataclass(frozen=True, kw_only=True)
class UntargetedObjective(GuardedObjective):
    """The :class:`Untargeted` goal against a classifier, whose logits an attack may see.

    An attack may so bring a loss of its own. Whether the victim can reject, and how many classes
    it knows, the victim says itself.

    Raises:
        InvalidInput: the truth is no class of the victim.
    """

    goal: Untargeted

    def __post_init__(self) -> None:
        labels(self.goal.truth, classes=self.classes or None, field="truth")

    @property
    def rejects(self) -> bool:
        """Whether the victim can reject."""
        return self.victim.rejects

    @property
    def classes(self) -> int:
        """How many classes K the victim knows, without the rejection."""
        return len(self.victim.classes)

    @property
    def losing(self) -> Tensor:
        """Truth, and the rejection where there is one, ``[B, L]``."""
        truth = self.goal.truth[:, None]
        if not self.rejects:
            return truth
        return torch.cat([truth, torch.full_like(truth, self.classes)], 1)

    def logits(self, x: Tensor, keys: Keys) -> Logits:
        """Scores (K + 1 of them where the victim can reject) and auxiliary scores, by draw."""
        return with_rejection(self.victim.surrogate(x, keys, self.draws, self.gradient))

    def _further(self, keys: Keys) -> Mapping[str, Objective | str]:
        """Those of every goal, and away from where the clean image is seen."""
        return {**super()._further(keys), "latent": LatentDistance(objective=self, origin=torch.zeros(0))}

    def _iterates(self, members: Sequence[GuardedObjective]) -> Objective:
        """With all scores, so that an attack can bring a loss of its own."""
        return UntargetedEnsemble(
            members=tuple(each for each in members if isinstance(each, UntargetedObjective)), split=False
        )

    def with_draws(self, draws: int) -> UntargetedObjective:
        """The same with another number of fresh draws in each step."""
        return replace(self, draws=draws)


@dataclass(frozen=True, kw_only=True)
class UntargetedEnsemble(Ensemble):
    """Several victims that are to be fooled by one input; each one's draws count as further draws.

    An attack's own loss is then the mean over all draws, and success is to fool every one.

    Attributes:
        members: of the same classes, which all can reject or all cannot.
        split: whether an attack that can takes one step for each member in turn.

    Raises:
        InvalidInput: the members differ in their classes, or in whether they can reject.
    """

    members: tuple[UntargetedObjective, ...]

    def __post_init__(self) -> None:
        if len({(member.classes, member.rejects) for member in self.members}) > 1:
            raise InvalidInput(
                "victims that are attacked together must have the same classes, and all of them reject or none"
            )

    @property
    def losing(self) -> Tensor:
        """Truth, and the rejection where there is one, ``[B, L]``."""
        return self.members[0].losing

    @property
    def classes(self) -> int:
        """How many classes K there are, without the rejection."""
        return self.members[0].classes

    def logits(self, x: Tensor, keys: Keys) -> Logits:
        """Scores and auxiliary scores of every draw of every victim."""
        views = [member.logits(x, keys.fold("member", i)) for i, member in enumerate(self.members)]
        scores, auxiliary = (torch.cat(each, 1) for each in zip(*views, strict=True))
        return Logits(scores, auxiliary)

    def with_draws(self, draws: int) -> UntargetedEnsemble:
        """The same ensemble with another number of fresh draws of each victim in each step."""
        return replace(self, members=tuple(member.with_draws(draws) for member in self.members))


def with_rejection(seen: Surrogate) -> Logits:
    """A surrogate as an attack sees it: acceptance becomes one more score, the last.

    The column is the best score less the acceptance, so that it leads where that is below zero
    (the K + 1 logits of arXiv 2412.10353, section 3).
    """
    scores = seen.scores
    if seen.acceptance is not None:
        rejection = scores.amax(2) - seen.acceptance
        scores = torch.cat([scores, rejection[..., None]], 2)
    auxiliary = seen.auxiliary
    if auxiliary is None:
        auxiliary = seen.scores.new_zeros(*seen.scores.shape[:2], 0, seen.scores.shape[2])
    return Logits(scores, auxiliary)


def losing(truth: Tensor, seen: Surrogate) -> Tensor:
    """Truth, and the rejection's column where the surrogate has one, ``[B, L]``."""
    if seen.acceptance is None:
        return truth[:, None]
    return torch.stack([truth, torch.full_like(truth, seen.scores.shape[2])], 1)
