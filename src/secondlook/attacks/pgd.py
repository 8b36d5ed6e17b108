"""Projected gradient ascent: the plain loop, and the seams where its variants differ."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from secondlook.attacks.base import Attack, AttackResult, Evaluation, Objective, Passes, input_gradient
from secondlook.attacks.search_state import BestPoints, TraceRecorder
from secondlook.bounds import Count, Part, Weight
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Length, Threat, per_sample


class Iterate(NamedTuple):
    """Where a step is taken.

    Attributes:
        objective: what is maximized, for the samples that are still searched.
        x: where they stand, ``[A, ...]``.
        keys: theirs, for this step.
        threat: the ball.
        memory: what an attack keeps from step to step, by name, ``[A, ...]`` each.
    """

    objective: Objective
    x: Tensor
    keys: Keys
    threat: Threat
    memory: dict[str, Tensor]


@register("attack", "pgd")
@dataclass(frozen=True, kw_only=True)
class PGD(Attack):
    """Projected gradient ascent with a random start (Madry et al. 2018), L∞, L2 or L1.

    A variant overrides what it does otherwise: :meth:`start`, :meth:`view`, :meth:`gradient`,
    :meth:`direction`, :meth:`step_length` or :meth:`project`.

    Attributes:
        steps: gradient steps.
        step: length of a step in pixel units; 0 takes 2.5 eps / steps.
        decay: factor on the step after every ``decay_every`` steps.
        decay_every: see ``decay``.
        momentum: share of the last direction that is kept (MI-FGSM, Dong et al. 2018).
        random_start: begin at a random point of the ball instead of at the clean image.
        keep_best: return the iterate of the highest loss; costs one forward more.
        early_exit: a sample whose goal is reached leaves the batch at once.

    Raises:
        InvalidInput: a number of steps below one.
    """

    steps: Count = 100
    step: Length = 0.0
    decay: Part = 1.0
    decay_every: Count = 300
    momentum: Weight = 0.0
    random_start: bool = True
    keep_best: bool = True
    early_exit: bool = False

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """Takes ``steps`` steps, one for each member of an ensemble in turn."""
        if len(objective.parts) > 1 and (self.early_exit or self.keep_best):
            raise InvalidInput("early_exit and keep_best compare losses of one objective; write ensemble='mean'")
        x, memory = self.start(clean, threat, keys), dict[str, Tensor]()
        best, trace = BestPoints(x), TraceRecorder(clean)
        rows = torch.arange(len(clean), device=clean.device)
        for step in range(self.steps):
            for part in range(len(objective.parts)):
                now = Iterate(objective.parts[part], x, keys.fold("step", step, part), threat, memory)
                gradient, evaluation = self.gradient(now.objective, x, now.keys)
                trace.record(rows, evaluation.loss, gradient, first=step == 0, early=step <= self.steps // 2)
                if self.keep_best:
                    best.offer(rows, x, evaluation.loss)
                direction = self.direction(torch.nan_to_num(gradient, 0.0, 0.0, 0.0), now)
                if self.early_exit and bool(evaluation.success.any()):
                    best.put(rows[evaluation.success], x[evaluation.success], success=True)
                    stay = torch.nonzero(~evaluation.success).flatten()
                    objective, keys = objective.take(stay), keys[stay]
                    rows, clean, x, direction = (t[stay] for t in (rows, clean, x, direction))
                    memory = {name: kept[stay] for name, kept in memory.items()}
                ahead = x + threat.ascend(direction, self.step_length(step, threat, clean))
                x = self.project(ahead, clean, threat)
            if not len(rows):
                break
        if not self.keep_best:
            best.put(rows, x)
        elif len(rows):
            own = keys.fold("last")
            with torch.no_grad():
                best.offer(rows, x, objective(self.view(x, own), own).loss)
        return AttackResult(best.x, trace.trace(), success=best.success if self.early_exit else None)

    def passes(self, objective: Objective, threat: Threat) -> Passes:
        """A gradient a step and member, and a look at the end."""
        return Passes(self.steps * len(objective.parts), int(self.keep_best))

    def unbounded(self) -> PGD:
        """The same search with steps that are long enough to cross the pixel range."""
        return replace(self, step=0.0)

    def start(self, clean: Tensor, threat: Threat, keys: Keys) -> Tensor:
        """Where the search begins, a point of the ball."""
        return random_point(clean, threat, keys) if self.random_start else clean.clone()

    def view(self, x: Tensor, keys: Keys) -> Tensor:
        """What the objective is shown of an iterate; the gradient goes back through it."""
        return x

    def gradient(self, objective: Objective, x: Tensor, keys: Keys) -> tuple[Tensor, Evaluation]:
        """The gradient at ``x``, ``[A, ...]``, and the evaluation it came with."""
        return input_gradient(objective, x, keys, self.view)

    def direction(self, gradient: Tensor, now: Iterate) -> Tensor:
        """Where the step goes: along the gradient, or what momentum makes of it."""
        if not self.momentum:
            return gradient
        mean = gradient.flatten(1).abs().mean(1).clamp_min(1e-12)
        before = self.momentum * now.memory.get("momentum", torch.zeros_like(gradient))
        now.memory["momentum"] = before + gradient / per_sample(mean)
        return now.memory["momentum"]

    def step_length(self, step: int, threat: Threat, clean: Tensor) -> float | Tensor:
        """The length of step number ``step``, of [0, 1]: one for all, or ``[A, 1, 1, 1]``."""
        length = self.step / threat.signal.span if self.step else self.automatic_step(threat, clean)
        return length * self.decay ** (step // self.decay_every)

    def automatic_step(self, threat: Threat, clean: Tensor) -> float | Tensor:
        """The length with which all steps together could cross the ball two and a half times."""
        return 2.5 * threat.radius(clean) / self.steps

    def project(self, x: Tensor, clean: Tensor, threat: Threat) -> Tensor:
        """The point of the ball that stands for ``x``."""
        return threat.project(x, clean)


def random_point(clean: Tensor, threat: Threat, keys: Keys) -> Tensor:
    """A random point of the ball around each image, and of the pixel range."""
    away = keys.fold("start").uniform(clean.shape[1:], like=clean) * 2 - 1
    if threat.ball == "l2":
        reach = keys.fold("reach").uniform((1,), like=clean).flatten()
        away = threat.ascend(away, 1.0) * per_sample(reach)
    return threat.project(clean + threat.radius(clean) * away, clean)
