"""Losses over the scores of a contest: cross-entropy, DLR, margins, each for one class or against.

All are computed in fp32 for each draw, ``[B, N]``, and rise towards the attacker's goal. Where
several columns lose (truth and rejection), a point is a success only when all of them are left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from secondlook.attacks.base import Judged
from secondlook.attacks.contest import Contest, View, judged, margin
from secondlook.randomness import Keys

Loss = Literal["ce", "dlr", "cw"]
_TINY = 1e-12


def ce(scores: Tensor, losing: Tensor) -> Tensor:
    """Cross-entropies to all losing columns, summed.

    With a rejection it is CE(truth) + CE(rejection), the adaptive loss of arXiv 2412.10353.

    Args:
        scores: ``[B, N, K']``.
        losing: ``[B, L]``.
    """
    return -_columns(scores.float().log_softmax(2), losing).sum(2)


def dlr(scores: Tensor, losing: Tensor) -> Tensor:
    """Difference of logits ratios (Croce & Hein 2020, equation 6), summed over losing columns.

    Below 3 columns it is not defined, and the margin stands for it.
    """
    scores = scores.float()
    if scores.shape[2] < 3:
        return cw(scores, losing)
    first, _, third = scores.topk(3, dim=2).values.unbind(2)
    leads = [margin(scores, column) for column in losing.split(1, dim=1)]
    return torch.stack(leads).sum(0) / (first - third + _TINY)


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


def joint(view: View, losing: Tensor, target: Tensor, kappa: float = 1.0) -> Tensor:
    """The worst lead of the target among a classifier and all models that must agree with it.

    The classifier's is :func:`dlr_targeted`; ``kappa`` times each opinion's lead of the target
    over its best other class is made free of scale in the same way, so that cosines weigh as much
    as logits. Without opinions it is :func:`dlr_targeted` itself.
    """
    models = view.opinions.shape[2]
    if not models:
        return dlr_targeted(view.scores, losing, target)
    opinions = view.opinions.float()
    classes = opinions.shape[3]
    # With opinions the rejection is their disagreement, which is climbed without its column.
    own = dlr_targeted(view.scores[..., :classes], losing[:, :1], target)
    flat = opinions.flatten(1, 2)
    others = margin(flat, target[:, None])
    theirs = (-others / _spread(flat)).view(*opinions.shape[:3]).amin(2)
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


def notices(contest: Contest, loss: str, targeted: bool) -> tuple[str, ...]:
    """What a user has to know of a loss that is not what it is called."""
    columns = contest.classes + contest.losing.shape[1] - 1
    needed = 4 if targeted else 3
    if columns >= needed or not (targeted or loss == "dlr"):
        return ()
    name = "targeted DLR" if targeted else "DLR"
    return (f"{name} needs {needed} scores and there are {columns}; the margin stood for it",)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A contest under a loss of the attacker's choice.

    Attributes:
        contest: the scores.
        loss: an untargeted loss, for as long as there is no target.
        target: the class each sample is driven to under :func:`joint`, ``[B]``.
        kappa: see :func:`joint`.
    """

    contest: Contest
    loss: Loss = "ce"
    target: Tensor | None = None
    kappa: float = 1.0

    @property
    def parts(self) -> Sequence[Measured]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks inside."""
        return self.contest.modules

    def __call__(self, x: Tensor, keys: Keys) -> Judged:
        """The mean of the loss over the draws, and whether all of them are fooled."""
        view = self.contest.look(x, keys)
        return judged(self.of(view), view, self.contest.losing)

    def of(self, view: View) -> Tensor:
        """The loss of what was seen, ``[B, N]``."""
        losing = self.contest.losing
        if self.target is None:
            return UNTARGETED[self.loss](view.scores, losing)
        return joint(view, losing, self.target, self.kappa)

    def take(self, rows: Tensor) -> Measured:
        """The same objective for some of the samples."""
        target = None if self.target is None else self.target[rows]
        return replace(self, contest=self.contest.take(rows), target=target)
