"""The walk of FAB: from linearised boundary to linearised boundary, always drawn to the start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from secondlook.attacks.contest import Contest, View
from secondlook.attacks.fab_finish import Look, Nearest
from secondlook.attacks.fab_planes import Plane, leads_of, nearest_plane
from secondlook.attacks.fab_projection import reach
from secondlook.attacks.pool import Diary, Pool
from secondlook.threat import Threat, per_sample


class Settings(Protocol):
    """What a walk reads of the attack's configuration; it is described there."""

    @property
    def steps(self) -> int: ...
    @property
    def restarts(self) -> int: ...
    @property
    def targets(self) -> int: ...
    @property
    def alpha_max(self) -> float: ...
    @property
    def eta(self) -> float: ...
    @property
    def beta(self) -> float: ...
    @property
    def early_exit(self) -> bool: ...


@dataclass
class Position:
    """Where each sample stands.

    Attributes:
        x: the next iterate, ``[A, ...]``.
        rivals: the classes that may beat the truth, likeliest first, ``[A, T]``.
        run, step: how many are behind it, ``[A]``.
    """

    x: Tensor
    rivals: Tensor
    run: Tensor
    step: Tensor


class Walk:
    """All steps of all runs against all targets.

    Attributes:
        found: the nearest points that fool.
        diary: the trace.
    """

    def __init__(self, attack: Settings, bout: Contest, clean: Tensor, threat: Threat) -> None:
        self.attack, self.threat, self.clean = attack, threat, clean
        others = bout.classes - 1
        self.rivals = min(attack.targets or others, others)
        self.targets = self.rivals if attack.targets else 1
        self.runs = attack.restarts * self.targets
        self.found, self.diary = Nearest(clean), Diary(clean)

    def begin(self, rows: Tensor) -> Position:
        """At the clean image; the rivals are known after the first look."""
        zeros = torch.zeros_like(rows)
        return Position(self.clean[rows], zeros[:, None].expand(-1, self.rivals), zeros, zeros)

    def turn(self, pool: Pool[Contest, Position]) -> Tensor:
        """One forward and one backward for everyone in flight; says who is done, ``[A]``."""
        state, x = pool.state, pool.state.x.detach().requires_grad_()
        moment = state.run * (self.attack.steps + 1) + state.step
        view = pool.objective.look(x, pool.keys.at(moment))
        look = Look.of(view.scores, pool.objective.losing)
        if not bool(moment.all()):
            self._open(pool, view, look, moment == 0)
        away = state.x - pool.clean
        won = self._judge(pool, look, moment, self.threat.size(away))
        over = state.step == self.attack.steps
        walking = ~(won | over)
        if bool(walking.any()):
            plane = self._plane(pool, view, x)
            # The largest of each gradient tells the diary what the whole of it would.
            peak = plane.gradient.flatten(1).abs().amax(1)
            self.diary.note(pool.rows[walking], look.lead[walking], peak[walking, None])
            if not bool(peak.isfinite().all()):
                plane = Plane(plane.lead, plane.gradient.nan_to_num(0, 0, 0))
            state.x = self._step(pool.clean, away, plane, look.fooled)
        self._count(pool, over)
        return won | (state.run == self.runs)

    def _open(self, pool: Pool[Contest, Position], view: View, look: Look, new: Tensor) -> None:
        """Ranks the rivals of those who are ``new``, by their scores at the clean image."""
        bout = pool.objective
        scores = view.scores.detach()[..., : bout.classes].mean(1)
        ranked = scores.scatter(1, bout.losing[:, :1], float("-inf"))
        ranked = ranked.argsort(dim=1, descending=True, stable=True)[:, : self.rivals]
        pool.state.rivals = torch.where(new[:, None], ranked, pool.state.rivals)
        self.found.start[pool.rows[new]] = look.lead[new].to(self.found.start)
        self.diary.note(pool.rows, look.lead, first=new)

    def _judge(
        self, pool: Pool[Contest, Position], look: Look, moment: Tensor, distance: Tensor
    ) -> Tensor:
        """Keeps what fools, and says who needs no more, ``[A]``."""
        self.found.keep(pool.rows, pool.state.x, look, distance)
        early = moment <= self.runs * (self.attack.steps + 1) // 2
        self.diary.note(pool.rows, look.lead, early=early)
        return look.fooled & (distance <= self.threat.eps) & self.attack.early_exit

    def _plane(self, pool: Pool[Contest, Position], view: View, x: Tensor) -> Plane:
        """The linearised boundary to the target, or the nearest one of all classes."""
        state, losing = pool.state, pool.objective.losing
        columns = state.rivals
        if self.attack.targets:
            columns = columns.gather(1, (state.run % self.targets)[:, None])
        leads = leads_of(view.scores, columns, losing)
        return nearest_plane(leads, x, self.threat.norm)

    def _step(self, clean: Tensor, away: Tensor, plane: Plane, fooled: Tensor) -> Tensor:
        """Onto the plane from the iterate and from the clean image, a bit beyond; both blended.

        Args:
            clean: ``[A, ...]``.
            away: where the iterates are, seen from there.
            plane: linearised at the iterates.
            fooled: who is beyond the boundary, ``[A]``.
        """
        attack, norm = self.attack, self.threat.norm
        home, weights, away = clean.flatten(1), plane.gradient.flatten(1), away.flatten(1)
        along = (weights * away).sum(1)
        kept = torch.where(fooled, attack.beta, 1.0).to(away)
        base = torch.addcmul(home, away, kept[:, None])
        rise = torch.cat([(1 - kept) * along - plane.lead, along - plane.lead])
        moves = reach(torch.cat([base, home]), weights.repeat(2, 1), rise, norm)
        here, there = moves.chunk(2)
        near, far = self.threat.size(moves).chunk(2)
        blend = (near / (near + far)).nan_to_num(0).clamp_max(attack.alpha_max)[:, None]
        move = here.lerp_(there, blend)
        return base.lerp_(home, blend).add_(move, alpha=attack.eta).clamp_(0, 1).view_as(clean)

    def _count(self, pool: Pool[Contest, Position], over: Tensor) -> None:
        """Counts the step; those whose run is over start the next one."""
        state = pool.state
        state.run, state.step = state.run + over, torch.where(over, 0, state.step + 1)
        rows = torch.nonzero(over & (state.run < self.runs)).flatten()
        if not len(rows):
            return
        start, again = pool.clean[rows], state.run[rows] // self.targets > 0
        if bool(again.any()):
            start[again] = self._start(pool, rows[again])
        state.x = state.x.index_copy(0, rows, start)

    def _start(self, pool: Pool[Contest, Position], rows: Tensor) -> Tensor:
        """A random point, half as far as the nearest one that fools or as the ball's edge."""
        clean = pool.clean[rows]
        keys = pool.keys[rows].fold("start").at(pool.state.run[rows])
        away = keys.uniform(clean.shape[1:], like=clean) * 2 - 1
        far = self.found.distance[pool.rows[rows]].clamp_max(self.threat.eps) / 2
        return (clean + away * per_sample(far / self.threat.size(away))).clamp(0, 1)
