"""Auto-PGD: projected gradient ascent that needs no step size, over losses of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from secondlook.attacks.apgd_hunt import Hunt, Runs
from secondlook.attacks.apgd_schedule import Schedule
from secondlook.attacks.base import Attack, Attacked, Objective
from secondlook.attacks.contest import contest
from secondlook.attacks.losses import Measured, notices
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat


@register("attack", "apgd")
@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """Auto-PGD (Croce & Hein 2020; in L1, 2021): halves its step at checkpoints where it stalls.

    A sample that is fooled leaves at once with the point that did it, and one that is wrong
    already after one look. A survivor costs ``steps + 1`` forwards and gradients at most in each
    run, and one look more; it returns its point of the highest loss.

    Attributes:
        steps: steps of a run.
        loss: ``ce``, ``dlr`` or ``cw`` over the scores of classes; empty climbs the loss of the
            objective itself, whatever it is.
        targets: drives each sample to so many of its likeliest wrong classes in turn, under the
            targeted DLR, together with the models that must agree where there are any
            (:func:`~secondlook.attacks.losses.joint`); ``loss`` is then not used. 0 for none.
        kappa: weight of such models' opinions.
        restarts: how often each sample is tried anew from another random point.
        rho: share of rising steps below which the step is halved.
        draws: fresh looks of a randomised victim in each step; all must be fooled. 0 leaves it at
            the objective's own.
        early_exit: a fooled sample leaves; else it is driven to the highest loss it can have.
        width: how many samples are in flight at once; 0 for all.

    Raises:
        InvalidInput: a count below its least; an objective without classes, where ``loss``,
            ``targets`` or ``draws`` needs them; an ensemble whose members take turns.
    """

    steps: int = 100
    loss: Literal["", "ce", "dlr", "cw"] = "ce"
    targets: int = 0
    kappa: float = 1.0
    restarts: int = 1
    rho: float = 0.75
    draws: int = 0
    early_exit: bool = True
    width: int = 0

    def __post_init__(self) -> None:
        least = {"steps": 1, "restarts": 1, "targets": 0, "draws": 0, "width": 0}
        for field, bound in least.items():
            if getattr(self, field) < bound:
                raise InvalidInput(f"{field}={getattr(self, field)}; write {bound} or more")

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> Attacked:
        """Walks every run of every sample that is not fooled before."""
        if len(objective.parts) > 1:
            raise InvalidInput("apgd climbs one objective; write ensemble='mean'")
        asked = self.asked(objective)
        schedule = Schedule(steps=self.steps, rho=self.rho, threat=threat)
        runs = Runs(
            restarts=self.restarts, targets=self.targets,
            early_exit=self.early_exit, width=self.width,
        )  # fmt: skip
        hunt = Hunt(asked, clean, keys, schedule, runs)
        hunt.look()
        hunt.walk()
        return Attacked(hunt.finds.x, hunt.diary.trace(), self._notices(asked))

    def asked(self, objective: Objective) -> Objective:
        """The objective under the loss that is climbed."""
        if not (self.loss or self.targets or self.draws):
            return objective
        over = contest(objective, "apgd")
        over = over.drawing(self.draws) if self.draws else over
        if not (self.loss or self.targets):
            return over
        return Measured(contest=over, loss=self.loss or "ce", kappa=self.kappa)

    def _notices(self, asked: Objective) -> tuple[str, ...]:
        if not isinstance(asked, Measured):
            return ()
        return notices(asked.contest, self.loss, self.targets > 0)
