"""FAB: steps onto the linearized decision boundary, drawn back to the clean image all the while."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
from torch import Tensor

from secondlook.attacks.base import Attack, AttackResult, Objective, Passes, differentiate
from secondlook.attacks.class_objective import ClassObjective, Logits, margin, over_classes
from secondlook.attacks.search_state import ActiveSet, TraceRecorder
from secondlook.bounds import Bounds, Count, Natural, Share
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Norm, Threat, per_sample

SECANTS = 3
_SLACK = 1e-6


@dataclass
class State:
    """Where each sample stands.

    Attributes:
        x: the next iterate, ``[A, ...]``.
        others: the classes that may beat the truth, likeliest first, ``[A, T]``.
        run, step: how many are behind it, ``[A]``.
    """

    x: Tensor
    others: Tensor
    run: Tensor
    step: Tensor


@register("attack", "fab")
@dataclass(frozen=True, kw_only=True)
class FAB(Attack):
    """Fast adaptive boundary attack: steps to the nearest wrong answer (Croce & Hein 2020).

    A step goes onto the linearized boundary, from where it is and from the clean image, and
    blends the two. One forward serves both the gradient and the test of an iterate: from
    beyond the boundary the next step starts nearer to the clean image, but keeps the
    linearization made beyond, where the paper spends another forward.

    Attributes:
        steps: gradient steps of each run.
        restarts: runs against each target; the first starts at the clean image.
        targets: 0 goes to the nearest boundary of all classes, with a backward for each of them
            in each step; k > 0 (FAB-T) to those of the k likeliest other classes in turn.
        alpha_max: largest share of the clean image's side in the blend.
        eta: overshoot beyond the boundary.
        beta: where a point beyond the boundary is drawn back to, 0 being the clean image.
        early_exit: a sample is done once it fools within eps, and is then pushed out to eps if
            it fools there too, lest rounding undoes it; otherwise the nearest point that fools is
            looked for, whatever eps.
        width: samples attacked at once, the next following as one leaves; 0 for all.

    Raises:
        InvalidInput: a number or a factor outside its range.
    """

    steps: Count = 100
    restarts: Count = 1
    targets: Natural = 0
    alpha_max: Share = 0.1
    eta: Annotated[float, Bounds(1, 2)] = 1.05
    beta: Share = 0.9
    early_exit: bool = True
    width: Natural = 0

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """Every run in turn, then the last bit of the way.

        Raises:
            InvalidInput: the objective shows no scores of classes.
        """
        over = over_classes(objective, "fab")
        others = min(self.targets or over.classes - 1, over.classes - 1)
        targets = others if self.targets else 1
        runs = self.restarts * targets
        nearest, trace = Nearest(clean), TraceRecorder(clean)

        def begin(rows: Tensor) -> State:
            # At the clean image; the other classes are known after the first forward.
            zeros = torch.zeros_like(rows)
            return State(clean[rows], zeros[:, None].expand(-1, others), zeros, zeros)

        active = ActiveSet(over, clean, keys, begin, width=self.width)
        while len(active):
            state, rows, losing = active.state, active.rows, active.objective.losing
            x = state.x.detach().requires_grad_()
            moment = state.run * (self.steps + 1) + state.step
            logits = active.objective.logits(x, active.keys.at(moment))
            lead = Lead.of(logits.scores, losing)
            if bool((new := moment == 0).any()):
                ranked = _ranked(logits, active.objective, others)
                state.others = torch.where(new[:, None], ranked, state.others)
                nearest.start[rows[new]] = lead.mean[new].to(nearest.start)
            away = state.x - active.clean
            distance = threat.size(away)
            nearest.keep(rows, state.x, lead, distance)
            early = moment <= runs * (self.steps + 1) // 2
            trace.record(rows, lead.mean, first=new, early=early)
            won = lead.fooled & (distance <= threat.radii(active.clean)) & self.early_exit
            over_run = state.step == self.steps
            moving = ~(won | over_run)
            if bool(moving.any()):
                columns = state.others
                if self.targets:
                    columns = columns.gather(1, (state.run % targets)[:, None])
                plane = nearest_plane(leads_of(logits.scores, columns, losing), x, threat.ball)
                # The largest of each gradient tells the trace what the whole of it would.
                peak = plane.gradient.flatten(1).abs().amax(1)
                trace.record(rows[moving], lead.mean[moving], peak[moving, None])
                if not bool(peak.isfinite().all()):
                    plane = Plane(plane.lead, plane.gradient.nan_to_num(0, 0, 0))
                state.x = self.step(active.clean, away, plane, lead.fooled, threat)
            state.run, state.step = state.run + over_run, (state.step + 1) * ~over_run
            self._restart(active, over_run & (state.run < runs), targets, nearest, threat)
            active.leave(won | (state.run == runs))
        last = LastSteps(over, clean, keys, threat, nearest, trace, self.width)
        last.draw_nearer(threat.radii(clean) if self.early_exit else 0.0, self.eta)
        if self.early_exit:
            last.push_out()
        return AttackResult(nearest.x, trace.trace(), success=nearest.distance <= threat.radii(clean))

    def passes(self, objective: Objective, threat: Threat) -> Passes:
        """A gradient to each boundary that is looked at, and the final search along a line."""
        classes = over_classes(objective, "fab").classes - 1
        runs = self.restarts * (min(self.targets, classes) if self.targets else classes)
        return Passes(runs * (self.steps + 1), SECANTS + 2)

    def step(self, clean: Tensor, away: Tensor, plane: Plane, fooled: Tensor, threat: Threat) -> Tensor:
        """Onto the plane from the iterate and from the clean image, a bit beyond; both blended.

        Args:
            clean: ``[A, ...]``.
            away: where the iterates are, seen from there.
            plane: linearized at the iterates.
            fooled: who is beyond the boundary, ``[A]``.
            threat: the norm that a step is measured in.
        """
        home, weights, away = clean.flatten(1), plane.gradient.flatten(1), away.flatten(1)
        along = (weights * away).sum(1)
        kept = torch.where(fooled, self.beta, 1.0).to(away)
        base = torch.addcmul(home, away, kept[:, None])
        rise = torch.cat([(1 - kept) * along - plane.lead, along - plane.lead])
        moves = reach(torch.cat([base, home]), weights.repeat(2, 1), rise, threat.ball)
        here, there = moves.chunk(2)
        near, far = threat.size(moves).chunk(2)
        blend = (near / (near + far)).nan_to_num(0).clamp_max(self.alpha_max)[:, None]
        move = here.lerp_(there, blend)
        return base.lerp_(home, blend).add_(move, alpha=self.eta).clamp_(0, 1).view_as(clean)

    def _restart(
        self, active: ActiveSet[ClassObjective, State], again: Tensor, targets: int, nearest: Nearest, threat: Threat
    ) -> None:
        """Starts the next run: at the clean image, and once each target was tried, beside it."""
        rows, state = torch.nonzero(again).flatten(), active.state
        if not len(rows):
            return
        start, anew = active.clean[rows], state.run[rows] // targets > 0
        if bool(anew.any()):
            beside, clean = rows[anew], start[anew]
            keys = active.keys[beside].fold("start").at(state.run[beside])
            away = keys.uniform(clean.shape[1:], like=clean) * 2 - 1
            # Half as far as the nearest point that fools, or as the ball's edge.
            far = nearest.distance[active.rows[beside]].minimum(torch.as_tensor(threat.radii(clean)).to(clean)) / 2
            start[anew] = (clean + away * per_sample(far / threat.size(away))).clamp(0, 1)
        state.x = state.x.index_copy(0, rows, start)


def _ranked(logits: Logits, objective: ClassObjective, count: int) -> Tensor:
    """The ``count`` likeliest classes but for the truth, ``[A, count]``."""
    scores = logits.scores.detach()[..., : objective.classes].mean(1)
    scores = scores.scatter(1, objective.losing[:, :1], float("-inf"))
    return scores.argsort(dim=1, descending=True, stable=True)[:, :count]


# --- the points that fool ------------------------------------------------------------------------


class Lead(NamedTuple):
    """By how much the best other class leads, mean over the draws, and whether all are fooled."""

    mean: Tensor
    fooled: Tensor

    @classmethod
    def of(cls, scores: Tensor, losing: Tensor) -> Lead:
        """The lead in the scores ``[A, N, K]``."""
        leads = margin(scores.detach(), losing)
        return cls(leads.mean(1), (leads > 0).all(1))


class Nearest:
    """The nearest point of each sample that was seen to fool.

    Attributes:
        x: that point, ``[B, ...]``; the clean image where there is none.
        distance: how far it is, ``[B]``, infinite where there is none.
        lead: of the best other class there, ``[B]``.
        start: the same at the clean image.
    """

    def __init__(self, clean: Tensor) -> None:
        self.x = clean.clone()
        self.distance = clean.new_full((len(clean),), float("inf"))
        self.lead, self.start = torch.zeros_like(self.distance), torch.zeros_like(self.distance)

    def keep(self, rows: Tensor, x: Tensor, lead: Lead, distance: Tensor) -> None:
        """Remembers those points ``x`` of the samples ``rows`` that fool from nearer."""
        nearer = lead.fooled & (distance < self.distance[rows])
        rows = rows[nearer]
        self.x[rows], self.distance[rows] = x[nearer], distance[nearer]
        self.lead[rows] = lead.mean[nearer].to(self.lead)


class LastSteps(NamedTuple):
    """The last bit of the way, on the line through the clean image and what was found.

    Attributes:
        objective, clean, keys: of the whole batch.
        threat: measures.
        nearest: what was found.
        trace: records what fools.
        width: samples in a forward; 0 for all.
    """

    objective: ClassObjective
    clean: Tensor
    keys: Keys
    threat: Threat
    nearest: Nearest
    trace: TraceRecorder
    width: int

    def draw_nearer(self, enough: float | Tensor, eta: float) -> None:
        """Searches the boundary between the clean image and the point by its secant, three times.

        The final search of Croce & Hein 2020, where the point is farther than ``enough``; ``eta``
        leaves a share of the gap, so that what is found lies beyond the boundary.
        """
        found = self.nearest
        away = found.x - self.clean
        high, low = torch.ones_like(found.lead), torch.zeros_like(found.lead)
        above, below = found.lead.clone(), found.start.clone()
        for turn in range(SECANTS):
            far = found.distance.isfinite() & (found.distance > enough)
            rows = torch.nonzero(far).flatten()
            share = (above / (above - below) / eta).nan_to_num(0.5).clamp(0, 1)
            at = high - (high - low) * share
            x = self.clean[rows] + per_sample(at[rows]) * away[rows]
            lead = self._evaluate(rows, x, f"secant {turn}")
            found.keep(rows, x, lead, self.threat.size(x - self.clean[rows]))
            for won, place, value in ((lead.fooled, high, above), (~lead.fooled, low, below)):
                place[rows[won]], value[rows[won]] = at[rows[won]], lead.mean[won]

    def push_out(self) -> None:
        """Goes on outwards to the edge of the ball, where what can be handed in fools there too."""
        found = self.nearest
        rows = torch.nonzero((found.distance > 0) & (found.distance <= self.threat.radii(self.clean))).flatten()
        clean = self.clean[rows]
        stretch = per_sample(self.threat.radii(clean) / found.distance[rows])
        x = self.threat.project(clean + (found.x[rows] - clean) * stretch, clean)
        x = self.threat.quantize(x, clean)
        wins = self._evaluate(rows, x, "edge").fooled
        found.x[rows[wins]] = x[wins]

    def _evaluate(self, rows: Tensor, x: Tensor, purpose: str) -> Lead:
        """A forward of the points ``x`` of the samples ``rows``, without a gradient."""
        leads = [Lead(x.new_zeros(0), rows.new_zeros(0, dtype=torch.bool))]
        keys = self.keys.fold(purpose)
        size = self.width or len(x) or 1
        for part, points in zip(rows.split(size), x.split(size), strict=True):
            if not len(part):
                continue
            objective = self.objective.take(part)
            with torch.no_grad():
                logits = objective.logits(points, keys[part])
            leads.append(Lead.of(logits.scores, objective.losing))
        lead = Lead(*(torch.cat(column) for column in zip(*leads, strict=True)))
        self.trace.record(rows[lead.fooled], lead.mean[lead.fooled])
        return lead


# --- linearized decision boundaries --------------------------------------------------------------


class Plane(NamedTuple):
    """A linearized boundary: the lead ``[A]`` of the class beyond it, and that lead's gradient."""

    lead: Tensor
    gradient: Tensor

    def or_nearer(self, other: Plane, norm: Norm) -> Plane:
        """The plane itself, or ``other`` for the samples to which that is nearer."""
        far, near = (p.lead.abs() / _dual_size(p.gradient, norm) for p in (self, other))
        closer = near < far
        lead = torch.where(closer, other.lead, self.lead)
        return Plane(lead, torch.where(per_sample(closer), other.gradient, self.gradient))


def leads_of(scores: Tensor, columns: Tensor, losing: Tensor) -> list[Tensor]:
    """Of each of the ``columns [A, T]`` its lead over the losing ones, mean over draws, T x [A]."""
    draws = scores.shape[1]
    held = scores.gather(2, losing[:, None].expand(-1, draws, -1)).amax(2, keepdim=True)
    others = scores.gather(2, columns[:, None].expand(-1, draws, -1))
    return list((others - held).mean(1).unbind(1))


def nearest_plane(leads: Sequence[Tensor], x: Tensor, norm: Norm) -> Plane:
    """Of the boundaries where the ``leads`` of ``x`` vanish the one that is nearest to it.

    Raises:
        InvalidInput: the leads do not depend on ``x``.
    """
    best = Plane(leads[0].detach(), differentiate(leads[0], x, keep=len(leads) > 1))
    for lead in leads[1:]:
        other = Plane(lead.detach(), differentiate(lead, x, keep=lead is not leads[-1]))
        best = best.or_nearer(other, norm)
    return best


def _dual_size(weights: Tensor, norm: Norm) -> Tensor:
    """The length of each normal ``[A, ...]`` in the norm that is dual to ``norm``, ``[A]``."""
    size = weights.flatten(1).abs()
    if norm == "l1":
        return size.amax(1)
    return size.sum(1) if norm == "linf" else (size * size).sum(1).sqrt()


# --- the nearest point of a hyperplane within the pixel range ------------------------------------


def reach(x: Tensor, weights: Tensor, rise: Tensor, norm: Norm) -> Tensor:
    """The smallest change ``z - x`` with ``<weights, z - x> = rise`` and ``z`` in [0, 1].

    Where no ``z`` of the pixel range gets that far, the change to the corner that gets farthest.
    Where the weights are all zero nothing moves. In L1 the pixels of the largest weights move, as
    far as they can; in L∞ and L2 a pixel changes by ``sign(w) min(t v, headroom)``, with a speed v of
    1 and of ``|w|`` (Croce & Hein 2020).

    Args:
        x: points of the pixel range, ``[B, D]``.
        weights: normals, ``[B, D]``, finite.
        rise: ``[B]``, of either sign.
        norm: what the change is measured in.
    """
    flip = torch.where(rise < 0, -1.0, 1.0).to(weights)[:, None]
    way, size = weights.sign().mul_(flip), weights.abs()
    headroom = way.clamp_min(0).sub_(x).abs_()
    if norm == "l1":
        return _largest_first(size, headroom, rise.abs()) * way
    if norm == "linf":
        step = _root(size, headroom, rise.abs())
        return torch.minimum(step[:, None], headroom, out=headroom).mul_(way)
    # Weights of a saturated network are so small that their squares are lost.
    tiny = torch.finfo(size.dtype).tiny
    scale = size.amax(1).clamp_min(tiny)
    size.div_(scale[:, None])
    step = _root(size * size, headroom / size.clamp_min(tiny), rise.abs() / scale)
    return torch.minimum(size.mul_(step[:, None]), headroom, out=headroom).mul_(way)


def _root(gain: Tensor, limit: Tensor, target: Tensor) -> Tensor:
    """The step after which all pixels together have gained ``target``, ``[B]``.

    The gain is concave and piecewise linear in the step, so that Newton's method from below
    never oversteps the root and ends on it, mostly within four rounds. Sorting the pixels, as
    is usual, costs as much as a small network.

    Args:
        gain: of each pixel for a unit of the step, ``[B, D]``.
        limit: the step at which the pixel meets the edge of the range, ``[B, D]``.
        target: ``[B]``, not negative.
    """
    largest = torch.finfo(target.dtype).max
    # What would do if no pixel met an edge. Where there is no slope at all the answer is no matter.
    step = (target / gain.sum(1)).nan_to_num(0).clamp_max(largest)
    # One buffer for all rounds: fresh memory costs more than the arithmetic.
    each = torch.empty_like(gain)
    while True:
        gained = torch.minimum(limit, step[:, None], out=each).mul_(gain).sum(1)
        slope = torch.gt(limit, step[:, None], out=each).mul_(gain).sum(1)
        ahead = (step + (target - gained) / slope).clamp_max(largest)
        # A row moves or rests by itself: what it comes to must not depend on its company.
        moved = ahead > step * (1 + _SLACK)
        if not bool(moved.any()):
            return step
        step = torch.where(moved, ahead, step)


def _largest_first(size: Tensor, headroom: Tensor, target: Tensor) -> Tensor:
    """How far each pixel goes where those of the largest weight go first, ``[B, D]``."""
    ranked, order = size.sort(dim=1, descending=True, stable=True)
    most = (size * headroom).gather(1, order)
    left = (target[:, None] - most.cumsum(1) + most).clamp_min(0)
    moved = torch.minimum((left / ranked).nan_to_num(0), headroom.gather(1, order))
    return torch.zeros_like(size).scatter(1, order, moved)
