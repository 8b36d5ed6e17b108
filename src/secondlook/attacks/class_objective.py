"""Objectives over classes: logits, margins, and the losses that an attack brings itself.

All losses are computed in fp32 for each draw, ``[B, N]``, and rise towards the attacker's goal.
Where several columns lose (truth and rejection), a point is a success only when all are left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Protocol, Self, runtime_checkable

from torch import Tensor, nn

from secondlook.attacks.base import Evaluation, Objective
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys

Loss = Literal["ce", "dlr", "cw"]
_TINY = 1e-12


class Logits(NamedTuple):
    """The scores of a batch by each draw of the victim.

    Attributes:
        scores: ``[B, N, K]`` of each draw; a victim that can reject has one column more, the
            last, which is the highest exactly where it rejects.
        auxiliary: ``[B, N, M, K]``, the scores of M further models that must agree; M may be 0.
    """

    scores: Tensor
    auxiliary: Tensor


@runtime_checkable
class ClassObjective(Objective, Protocol):
    """An objective that also shows scores, so that an attack can bring a loss of its own."""

    @property
    def losing(self) -> Tensor:
        """The columns of the scores that an attacker must leave behind, ``[B, L]``.

        The truth comes first; then, where the victim can reject, the rejection.
        """
        ...

    @property
    def classes(self) -> int:
        """How many classes K there are, without the rejection."""
        ...

    def logits(self, x: Tensor, keys: Keys) -> Logits:
        """The victim's scores on ``[B, C, H, W]``, with their gradient."""
        ...

    def with_draws(self, draws: int) -> Self:
        """The same objective with so many fresh draws of a randomized victim in each step."""
        ...


def over_classes(objective: Objective, who: str) -> ClassObjective:
    """The objective as one over classes.

    Raises:
        InvalidInput: it is another; the attack ``who`` needs scores to choose its loss.
    """
    if not isinstance(objective, ClassObjective):
        raise InvalidInput(
            f"{who} needs the scores of classes, and {type(objective).__name__} has none; "
            'attack a classification, goal = "untargeted", take pgd, or apgd with loss = ""'
        )
    return objective


def fooled(scores: Tensor, losing: Tensor) -> Tensor:
    """Whether every draw answers a class that is not ``losing``, ``[B]`` bool.

    Args:
        scores: ``[B, N, K]`` or ``[B, N, K + 1]``.
        losing: ``[B, L]``.

    A tie with a losing class counts for the defender.
    """
    wins = margin(scores, losing) > 0
    return wins.all(1)


def margin(scores: Tensor, losing: Tensor) -> Tensor:
    """Lead of the best other class over the best losing one, ``[B, N]``; above 0 it is fooled."""
    at = losing[:, None, :].expand(-1, scores.shape[1], -1)
    held = scores.gather(2, at).amax(2)
    others = scores.scatter(2, at, float("-inf")).amax(2)
    return others - held


def evaluation(loss: Tensor, logits: Logits, losing: Tensor) -> Evaluation:
    """The mean of a loss ``[B, N]`` over the draws, and whether all of them are fooled."""
    return Evaluation(loss.mean(1), fooled(logits.scores.detach(), losing))


def ce(scores: Tensor, losing: Tensor) -> Tensor:
    """Cross-entropies to all losing columns, summed.

    With a rejection it is CE(truth) + CE(rejection), the adaptive loss of arXiv 2412.10353.

    Args:
        scores: ``[B, N, K']``.
        losing: ``[B, L]``.
    """
    return -_columns(scores.float().log_softmax(2), losing).sum(2)


def dlr(scores: Tensor, losing: Tensor) -> Tensor:
    """Difference of logits ratios (Croce & Hein 2020, equation 6), with all losing columns left behind.

    With one losing column it is divided by the first score less the third. With a rejection arXiv
    2412.10353 sums the ratio of the truth and that of the rejection, which cancel where these two
    lead, as they do on clean images: a loss of 0 without a gradient. Here the best other class has
    to lead both, over the first score less the fourth; with L losing columns, less the (L + 2)-th.
    Below L + 2 columns it is not defined, and the margin stands for it.
    """
    scores, count = scores.float(), losing.shape[1] + 2
    if scores.shape[2] < count:
        return cw(scores, losing)
    leading = scores.topk(count, dim=2).values
    return margin(scores, losing) / (leading[..., 0] - leading[..., -1] + _TINY)


def cw(scores: Tensor, losing: Tensor) -> Tensor:
    """Lead of the best other class over the best losing one (Carlini & Wagner 2017)."""
    return margin(scores.float(), losing)


def dlr_targeted(scores: Tensor, losing: Tensor, target: Tensor) -> Tensor:
    """Targeted difference of logits ratios (Croce & Hein 2020, equation 7).

    Below 4 columns it is not defined, and the lead of the target stands for it.

    Args:
        scores: ``[B, N, K']``.
        losing: ``[B, L]``; the target has to leave the best of them behind.
        target: the class to be reached, ``[B]``.
    """
    scores = scores.float()
    lead = _columns(scores, target[:, None]).squeeze(2) - _columns(scores, losing).amax(2)
    return lead / _spread(scores)


def joint(logits: Logits, losing: Tensor, target: Tensor, kappa: float = 1.0) -> Tensor:
    """The worst lead of the target among a classifier and all models that must agree with it.

    The classifier's is :func:`dlr_targeted`; ``kappa`` times each opinion's lead of the target
    over its best other class is made free of scale in the same way, so that cosines weigh as much
    as logits. Without auxiliary it is :func:`dlr_targeted` itself.
    """
    models = logits.auxiliary.shape[2]
    if not models:
        return dlr_targeted(logits.scores, losing, target)
    auxiliary = logits.auxiliary.float()
    classes = auxiliary.shape[3]
    # With auxiliary models the rejection is their disagreement, which needs no column of its own.
    own = dlr_targeted(logits.scores[..., :classes], losing[:, :1], target)
    flat = auxiliary.flatten(1, 2)
    others = margin(flat, target[:, None])
    theirs = (-others / _spread(flat)).view(*auxiliary.shape[:3]).amin(2)
    return own.minimum(kappa * theirs)


def _columns(scores: Tensor, index: Tensor) -> Tensor:
    """The columns ``index``, ``[B, L]``, of each draw: ``[B, N, L]``."""
    return scores.gather(2, index[:, None, :].expand(-1, scores.shape[1], -1))


def _spread(scores: Tensor) -> Tensor | float:
    """The denominator of the targeted DLR, ``[B, N]``; 1 below four columns."""
    if scores.shape[2] < 4:
        return 1.0
    first, _, third, fourth = scores.topk(4, dim=2).values.unbind(2)
    return first - (third + fourth) / 2 + _TINY


UNTARGETED: Mapping[str, Callable[[Tensor, Tensor], Tensor]] = {"ce": ce, "dlr": dlr, "cw": cw}


def loss_notices(objective: ClassObjective, loss: str, targeted: bool) -> tuple[str, ...]:
    """What a user has to know of a loss that is not what it is called."""
    losing = objective.losing.shape[1]
    columns = objective.classes + losing - 1
    needed = 4 if targeted else losing + 2
    if columns >= needed or not (targeted or loss == "dlr"):
        return ()
    name = "targeted DLR" if targeted else "DLR"
    return (f"{name} needs {needed} scores and there are {columns}; the margin stood for it",)


@dataclass(frozen=True, kw_only=True)
class ClassLoss:
    """An objective over classes under a loss of the attacker's choice.

    Attributes:
        objective: gives the scores.
        loss: an untargeted loss, for as long as there is no target.
        target: the class each sample is driven to under :func:`joint`, ``[B]``.
        kappa: see :func:`joint`.
    """

    objective: ClassObjective
    loss: Loss = "ce"
    target: Tensor | None = None
    kappa: float = 1.0

    @property
    def parts(self) -> Sequence[ClassLoss]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks inside."""
        return self.objective.modules

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """The mean of the loss over the draws, and whether all of them are fooled."""
        return self.evaluate(self.objective.logits(x, keys))

    def evaluate(self, logits: Logits) -> Evaluation:
        """The same of logits that are known."""
        losing = self.objective.losing
        if self.target is None:
            loss = UNTARGETED[self.loss](logits.scores, losing)
        else:
            loss = joint(logits, losing, self.target, self.kappa)
        return evaluation(loss, logits, losing)

    def take(self, rows: Tensor) -> ClassLoss:
        """The same objective for some of the samples."""
        target = None if self.target is None else self.target[rows]
        return replace(self, objective=self.objective.take(rows), target=target)
