"""Random gradient-free search: the slope along random signs stands for the gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from secondlook.attacks.base import Attack, AttackResult, Objective, Passes
from secondlook.attacks.search_state import BestPoints, TraceRecorder
from secondlook.bounds import Count, Natural
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Reach, Threat, per_sample


@register("attack", "rgf")
@dataclass(frozen=True, kw_only=True)
class RGF(Attack):
    """Sign steps along a gradient that is estimated by queries (Nesterov & Spokoiny 2017).

    The defaults are those of the query stage of AttackVLM (MF-tt, arXiv 2305.16934, section 3.3).

    Attributes:
        steps: steps taken.
        step: length of a step in pixel units.
        queries: random directions in a step; one query more asks about the iterate itself.
        sigma: how far along each direction it is asked, in pixel units.
        chunk: queries that are asked at once, over all samples; 0 for all.
        keep_best: return the iterate of the highest loss; costs one query more.

    Raises:
        InvalidInput: a number outside its range.
    """

    only_asks: ClassVar[bool] = True
    steps: Count = 8
    step: Reach = 1 / 255
    queries: Count = 100
    sigma: Reach = 8 / 255
    chunk: Natural = 800
    keep_best: bool = True

    def passes(self, objective: Objective, threat: Threat) -> Passes:
        """The queries of each step, one of its iterate, and a look at the end."""
        return Passes(queries=self.steps * (self.queries + 1) + int(self.keep_best))

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """Asks and steps ``steps`` times, from the clean image."""
        return self.search_from(clean.clone(), objective, clean, threat, keys)

    @torch.no_grad()
    def search_from(
        self, start: Tensor, objective: Objective, clean: Tensor, threat: Threat, keys: Keys
    ) -> AttackResult:
        """The same from ``start``, a point of the ball around ``clean``."""
        x, best, trace = start, BestPoints(start), TraceRecorder(clean)
        everyone = torch.arange(len(clean), device=clean.device)
        for step in range(self.steps):
            own = keys.fold("step", step)
            loss = objective(x, own).loss
            gradient = self.estimated(objective, x, loss, own)
            early = step <= self.steps // 2
            trace.record(everyone, loss, gradient, first=step == 0, early=early)
            if self.keep_best:
                best.offer(everyone, x, loss)
            x = threat.project(x + threat.ascend(gradient, self.step), clean)
        if self.keep_best:
            best.offer(everyone, x, objective(x, keys.fold("last")).loss)
        else:
            best.put(everyone, x)
        return AttackResult(best.x, trace.trace())

    @torch.no_grad()
    def estimated(self, objective: Objective, x: Tensor, loss: Tensor, keys: Keys) -> Tensor:
        """The mean of ``(f(x + sigma u) - f(x)) / sigma * u`` over random signs ``u``, ``[B, …]``.

        Without bounds on the pixels it is unbiased for the gradient of a function up to second
        order, whatever ``sigma``. A query that leaves [0, 1] is clamped, as it is no image.

        Args:
            objective: what is asked.
            x: where, ``[B, C, H, W]``.
            loss: what it is worth there, ``[B]``.
            keys: one for each sample; the directions, and the victim's own draws.
        """
        total = torch.zeros_like(x)
        size = max(1, (self.chunk or self.queries * len(x)) // max(len(x), 1))
        for first in range(0, self.queries, size):
            count = min(size, self.queries - first)
            children = keys.repeat(count, first)
            signs = (children.uniform(x.shape[1:], like=x) < 0.5).to(x) * 2 - 1
            asked = (x.repeat_interleave(count, 0) + self.sigma * signs).clamp_(0, 1)
            rows = torch.arange(len(x), device=x.device).repeat_interleave(count)
            rise = (objective.take(rows)(asked, children).loss - loss[rows]) / self.sigma
            total += (per_sample(rise.to(x)) * signs).unflatten(0, (len(x), count)).sum(1)
        return total / self.queries
