"""How APGD walks: momentum steps whose length is halved at checkpoints, each sample by itself."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook import l1
from secondlook.randomness import Keys
from secondlook.threat import Threat, per_sample

_PULL = 0.75
"""The weight of the new step against the last one (Croce & Hein 2020, section 3)."""
_FIRST, _LESS, _LEAST = 0.22, 0.03, 0.06
"""Lengths of the first stretch between two checkpoints, and how they shrink, per step."""
_L1_STRETCH, _L1_SHARE, _L1_FALL, _L1_SHORTEST = 0.04, 0.2, 1.5, 10


@dataclass
class Walk:
    """Where each sample stands; ``[A]`` each, and images ``[A, ...]`` where it says so.

    Attributes:
        x, old: image; the iterate to be looked at, and the one before.
        gradient: image; where ``x`` goes from here.
        best_x, best_gradient: images; the iterate of the highest loss in this run.
        loss, best, best_before: of ``old``'s successor, of ``best_x``, and that of ``best_x`` at
            the last checkpoint.
        length: of the next step.
        run, step: which run it is in, and how many looks it has had in it.
        since, rises, stretch: looks since the last checkpoint, those with a higher loss than the
            look before, and how many looks there are to the next one.
        cut: whether the step was shortened at the last checkpoint.
        share, support: in L1, the share of the coordinates that move, and how many had been
            changed at the last checkpoint.
    """

    x: Tensor
    old: Tensor
    gradient: Tensor
    best_x: Tensor
    best_gradient: Tensor
    loss: Tensor
    best: Tensor
    best_before: Tensor
    length: Tensor
    run: Tensor
    step: Tensor
    since: Tensor
    rises: Tensor
    stretch: Tensor
    cut: Tensor
    share: Tensor
    support: Tensor


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The walk of Croce & Hein 2020, algorithm 1; in L1 that of Croce & Hein 2021, algorithm 1.

    Attributes:
        steps: steps of one run.
        rho: share of rising steps below which the step is halved.
        threat: the ball.
    """

    steps: int
    rho: float
    threat: Threat

    def begin(self, clean: Tensor, keys: Keys, run: Tensor) -> Walk:
        """The samples at the start of their runs, at random points on the sphere."""
        x, count = self._start(clean, keys.fold("start").at(run)), torch.zeros_like(run)
        zero, low = clean.new_zeros(len(clean)), clean.new_full((len(clean),), float("-inf"))
        l1_ball = self.threat.norm == "l1"
        first = int((_L1_STRETCH if l1_ball else _FIRST) * self.steps)
        return Walk(
            x=x, old=x.clone(), gradient=torch.zeros_like(x), best_x=x.clone(),
            best_gradient=torch.zeros_like(x), loss=low, best=low.clone(), best_before=low.clone(),
            length=zero + self.threat.eps * (1 if l1_ball else 2), run=run.clone(), step=count,
            since=count.clone(), rises=count.clone(), stretch=count + max(first, 1),
            cut=count == 0, share=zero + _L1_SHARE, support=zero + clean[0:1].numel(),
        )  # fmt: skip

    def advance(self, walk: Walk, clean: Tensor) -> None:
        """Takes the next step of all that have had a look from where they are."""
        moving = walk.step > 0
        if not bool(moving.any()):
            return
        x = self._sparse(walk, clean) if self.threat.norm == "l1" else self._heavy(walk, clean)
        if not bool(moving.all()):
            x = torch.where(per_sample(moving), x, walk.x)
        walk.x, walk.old = x, walk.x

    def learn(self, walk: Walk, loss: Tensor, gradient: Tensor | None) -> None:
        """Takes in what a look at ``x`` has shown; without a gradient it was the last one."""
        loss, moved = loss.to(walk.loss), walk.step > 0
        better = torch.nonzero(loss > walk.best).flatten()
        walk.best_x[better], walk.best[better] = walk.x[better], loss[better]
        if gradient is not None:
            sick = not bool(gradient.sum().isfinite())
            walk.gradient = torch.nan_to_num(gradient, 0.0, 0.0, 0.0) if sick else gradient
            walk.best_gradient[better] = walk.gradient[better]
        walk.rises += moved & (loss > walk.loss)
        walk.since += moved
        walk.step += 1
        walk.loss = loss

    def check(self, walk: Walk, clean: Tensor) -> None:
        """Shortens the steps of those that stand at a checkpoint and have come to little."""
        due = walk.since == walk.stretch
        if not bool(due.any()):
            return
        back = (
            self._l1_check(walk, clean, due) if self.threat.norm == "l1" else self._halve(walk, due)
        )
        walk.x = torch.where(per_sample(back), walk.best_x, walk.x)
        walk.gradient = torch.where(per_sample(back), walk.best_gradient, walk.gradient)
        walk.since[due], walk.rises[due] = 0, 0

    def _start(self, clean: Tensor, keys: Keys) -> Tensor:
        norm, eps = self.threat.norm, self.threat.eps
        if norm == "linf":
            away = keys.uniform(clean.shape[1:], like=clean) * 2 - 1
            away = away / per_sample(away.flatten(1).abs().amax(1))
        else:
            away = keys.normal(clean.shape[1:], like=clean)
            away = away / per_sample(away.flatten(1).norm(dim=1)) if norm == "l2" else away / eps
        return self.threat.project(clean + eps * away, clean)

    def _heavy(self, walk: Walk, clean: Tensor) -> Tensor:
        """A step along the gradient, and a part of the last one."""
        ahead = self.threat.ascend(walk.gradient, per_sample(walk.length)).add_(walk.x)
        ahead = self.threat.project(ahead, clean)
        pull = per_sample(torch.where(walk.step > 1, _PULL, 1.0).to(clean))
        drift = (walk.x - walk.old).mul_(1 - pull)
        return self.threat.project(drift.add_(torch.lerp(walk.x, ahead, pull)), clean)

    def _sparse(self, walk: Walk, clean: Tensor) -> Tensor:
        """A step of the largest coordinates alone."""
        step = l1.sparse_step(walk.gradient, walk.share) * per_sample(walk.length)
        return self.threat.project(walk.x + step, clean)

    def _halve(self, walk: Walk, due: Tensor) -> Tensor:
        idle = ~walk.cut & (walk.best_before >= walk.best)
        cut = (walk.rises <= self.rho * walk.stretch) | idle
        walk.length = torch.where(due & cut, walk.length / 2, walk.length)
        walk.cut = torch.where(due, cut, walk.cut)
        walk.best_before = torch.where(due, walk.best, walk.best_before)
        less, least = max(int(_LESS * self.steps), 1), max(int(_LEAST * self.steps), 1)
        walk.stretch = torch.where(due, (walk.stretch - less).clamp_min(least), walk.stretch)
        return due & cut

    def _l1_check(self, walk: Walk, clean: Tensor, due: Tensor) -> Tensor:
        """As sparse as the best point is; a full step again where that has become much sparser."""
        changed = (walk.best_x != clean).flatten(1).sum(1).to(walk.support)
        sparser = changed / walk.support < 0.95
        eps = self.threat.eps
        shorter = (walk.length / _L1_FALL).clamp_min(eps / _L1_SHORTEST)
        length = torch.where(sparser, eps, shorter)
        walk.length = torch.where(due, length, walk.length)
        size = clean[0:1].numel()
        walk.share = torch.where(due, changed / size / _L1_FALL, walk.share)
        walk.support = torch.where(due, changed.clamp_min(1), walk.support)
        return due & sparser
