"""Projected gradient ascent, the plain search that most others are variations of."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from secondlook.attacks.base import Attack, Attacked, Objective, input_gradient
from secondlook.attacks.climb import Climb
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Pixels, Threat, per_sample


@register("attack", "pgd")
@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """Projected gradient ascent with a random start (Madry et al. 2018), L∞ or L2.

    Attributes:
        steps: gradient steps.
        step: length of a step in pixel units; 0 takes 2.5 eps / steps.
        decay: factor on the step after every ``decay_every`` steps.
        decay_every: see ``decay``.
        momentum: share of the last direction that is kept (MIM, Dong et al. 2018).
        random_start: begin at a random point of the ball instead of at the clean image.
        keep_best: return the iterate of the highest loss; costs one forward more.
        early_exit: a sample whose goal is reached leaves the batch at once.

    Raises:
        InvalidInput: a number of steps below one.
    """

    steps: int = 100
    step: Pixels = 0.0
    decay: float = 1.0
    decay_every: int = 300
    momentum: float = 0.0
    random_start: bool = True
    keep_best: bool = True
    early_exit: bool = False

    def __post_init__(self) -> None:
        for field in ("steps", "decay_every"):
            if getattr(self, field) < 1:
                raise InvalidInput(f"{field}={getattr(self, field)}; write 1 or more")

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> Attacked:
        """Climbs for ``steps`` steps, one for each member of an ensemble in turn."""
        if len(objective.parts) > 1 and (self.early_exit or self.keep_best):
            raise InvalidInput(
                "early_exit and keep_best compare losses of one objective; write ensemble='mean'"
            )
        climb = Climb(objective, clean, self._start(clean, threat, keys), keys)
        for step in range(self.steps):
            for part in range(len(climb.objective.parts)):
                self._climb(climb, threat, step, part)
            if not len(climb):
                break
        return self._finish(climb)

    def unbounded(self) -> PGD:
        """The same search with steps that are long enough to cross the pixel range."""
        return replace(self, step=0.0)

    def view(self, x: Tensor) -> Tensor:
        """What the objective is shown of an iterate; a seam for subclasses."""
        return x

    def full_step(self, threat: Threat) -> float:
        """The length of a step before it fades, in pixel units; a seam for subclasses."""
        return self.step or self.automatic_step(threat)

    def automatic_step(self, threat: Threat) -> float:
        """The length with which all steps together could cross the ball two and a half times."""
        return 2.5 * threat.eps / self.steps

    def length(self, step: int, threat: Threat) -> float:
        """The length of step number ``step``, in pixel units."""
        return self.full_step(threat) * self.decay ** (step // self.decay_every)

    def _climb(self, climb: Climb, threat: Threat, step: int, part: int) -> None:
        member, keys = climb.objective.parts[part], climb.keys.fold("step", step, part)
        gradient, judged = input_gradient(member, self.view(climb.x), keys)
        climb.note(judged, gradient, step, self.steps)
        if self.keep_best:
            climb.keep(judged.loss)
        direction = climb.steer(torch.nan_to_num(gradient, 0.0, 0.0, 0.0), self.momentum)
        if self.early_exit:
            climb.leave(judged.reached)
            direction = direction[~judged.reached]
        ahead = climb.x + threat.ascend(direction, self.length(step, threat))
        climb.x = threat.project(ahead, climb.clean).detach()

    def _finish(self, climb: Climb) -> Attacked:
        if not self.keep_best:
            climb.settle()
        elif len(climb):
            with torch.no_grad():
                keys = climb.keys.fold("last")
                climb.keep(climb.objective(self.view(climb.x), keys).loss)
        return climb.finish()

    def _start(self, clean: Tensor, threat: Threat, keys: Keys) -> Tensor:
        if not self.random_start:
            return clean.clone()
        away = keys.fold("start").uniform(clean.shape[1:], like=clean) * 2 - 1
        if threat.norm == "l2":
            reach = keys.fold("reach").uniform((1,), like=clean).flatten()
            away = threat.ascend(away, 1.0) * per_sample(reach)
        return threat.project(clean + threat.eps * away, clean)
