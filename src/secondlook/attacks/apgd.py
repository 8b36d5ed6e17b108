"""Auto-PGD: projected gradient ascent that needs no step size, over losses of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from secondlook import l1
from secondlook.attacks.base import Attack, AttackResult, Evaluation, Objective, Passes, input_gradient
from secondlook.attacks.class_objective import ClassLoss, Logits, joint, loss_notices, over_classes
from secondlook.attacks.search_state import ActiveSet, BestPoints, TraceRecorder, put
from secondlook.bounds import Count, Natural, Share, Weight
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat, per_sample

_PULL = 0.75
"""The weight of the new step against the last one (Croce & Hein 2020, section 3)."""
_FIRST, _LESS, _LEAST = 0.22, 0.03, 0.06
"""Steps to the first checkpoint, and how their number shrinks, as shares of all steps."""
_L1_FIRST, _L1_SHARE, _L1_FALL, _L1_SHORTEST = 0.04, 0.2, 1.5, 10


@dataclass
class State:
    """Where each sample stands; ``[A]`` each, and images ``[A, ...]`` where it says so.

    Attributes:
        x, previous: images; the iterate to be evaluated, and the one before.
        gradient: image; where ``x`` goes from here.
        best_x, best_gradient: images; the iterate of the highest loss in this run.
        loss, best, best_before: of the iterate evaluated last, of ``best_x``, and that of
            ``best_x`` at the last checkpoint.
        length: of the next step.
        held: how many evaluations in a row have been fooled.
        run, step: which run it is in, and how many evaluations it has had in it.
        since, rises, interval: steps since the last checkpoint, those that raised the loss, and
            how many there are to the next one.
        shortened: whether the step was shortened at the last checkpoint.
        share, support: in L1, the share of the coordinates that move, and how many had been
            changed at the last checkpoint.
    """

    x: Tensor
    previous: Tensor
    gradient: Tensor
    best_x: Tensor
    best_gradient: Tensor
    loss: Tensor
    best: Tensor
    best_before: Tensor
    length: Tensor
    held: Tensor
    run: Tensor
    step: Tensor
    since: Tensor
    rises: Tensor
    interval: Tensor
    shortened: Tensor
    share: Tensor
    support: Tensor


@register("attack", "apgd")
@dataclass(frozen=True, kw_only=True)
class APGD(Attack):
    """Auto-PGD (Croce & Hein 2020; in L1, 2021): halves its step at checkpoints where it stalls.

    A sample that is fooled leaves at once with the point that did it, and one that is wrong
    already after one forward. A survivor costs ``steps + 1`` forwards and gradients at most in
    each run, and one forward more; it returns its point of the highest loss.

    Attributes:
        steps: steps of a run.
        loss: ``ce``, ``dlr`` or ``cw`` over the scores of classes; empty maximizes the loss of the
            objective itself, whatever it is.
        targets: drives each sample to so many of its likeliest wrong classes in turn, under the
            targeted DLR; ``loss`` is then not used. Where there are models that must agree, both the
            loss and the order of the classes are those of all of them together
            (:func:`~secondlook.attacks.class_objective.joint`). 0 for none.
        kappa: weight of such models' opinions.
        restarts: how often each sample is tried anew from another random point.
        rho: share of rising steps below which the step is halved.
        draws: fresh draws of a randomized victim in each step; all must be fooled. 0 leaves it at
            the objective's own.
        early_exit: a fooled sample leaves; else it is driven to the highest loss it can have.
        confirm: how many evaluations in a row must be fooled before a sample leaves: of a
            randomized victim, whose draws one lucky evaluation does not stand for, more than 1.
        width: how many samples are attacked at once; 0 for all.

    Raises:
        InvalidInput: a count below its least; an objective without classes, where ``loss``,
            ``targets`` or ``draws`` needs them; an ensemble whose members take turns.
    """

    steps: Count = 100
    loss: Literal["", "ce", "dlr", "cw"] = "ce"
    targets: Natural = 0
    kappa: Weight = 1.0
    restarts: Count = 1
    rho: Share = 0.75
    draws: Natural = 0
    early_exit: bool = True
    confirm: Count = 1
    width: Natural = 0

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """Runs from every restart to every target, until a sample is fooled or has had them all."""
        if len(objective.parts) > 1:
            raise InvalidInput("apgd maximizes one objective; write ensemble='mean'")
        objective = self.under_loss(objective)
        best, trace = BestPoints(clean), TraceRecorder(clean)
        rows, targets = self._evaluate_clean(objective, clean, keys, best, trace)
        runs = self.restarts * max(targets.shape[1], 1)

        def begin(rows: Tensor) -> State:
            return self.start(rows, clean[rows], threat, keys[rows], torch.zeros_like(rows))

        own = keys.fold("walk")
        active = ActiveSet(objective, clean, own, begin, rows=rows, width=self.width)
        while len(active):
            state, rows = active.state, active.rows
            self.take_step(state, active.clean, threat)
            final = state.step == self.steps
            evaluation, gradient = self._evaluate(active, targets, last=bool(final.all()))
            first = (state.step == 0) & ((state.run > 0) | (not self._evaluates_clean))
            early = state.step <= self.steps // 2
            trace.record(rows, evaluation.loss, gradient, first=first, early=early)
            state.held = torch.where(evaluation.success, state.held + 1, 0)
            fooled = state.held >= self.confirm
            if bool(fooled.any()):
                best.offer(rows[fooled], state.x[fooled], evaluation.loss[fooled], fooled[fooled])
            self.update(state, evaluation.loss, gradient)
            self.checkpoint(state, active.clean, threat)
            done = final & (state.run + 1 == runs)
            if self.early_exit:
                done = done | fooled
            if bool(final.any()):
                best.offer(rows[final], state.best_x[final], state.best[final], fooled[final] & False)
                again = final & ~done
                anew, run = rows[again], state.run[again] + 1
                put(state, again, self.start(anew, clean[anew], threat, keys[anew], run))
            active.leave(done)
        return AttackResult(best.x, trace.trace(), self._notices(objective), success=best.success)

    def under_loss(self, objective: Objective) -> Objective:
        """The objective under the loss that is maximized."""
        if not (self.loss or self.targets or self.draws):
            return objective
        over = over_classes(objective, "apgd")
        over = over.with_draws(self.draws) if self.draws else over
        if not (self.loss or self.targets):
            return over
        return ClassLoss(objective=over, loss=self.loss or "ce", kappa=self.kappa)

    # --- what is evaluated ---------------------------------------------------------------------

    def passes(self, objective: Objective, threat: Threat) -> Passes:
        """``steps + 1`` gradients a run, each over all ``draws``, and the clean images."""
        runs = self.restarts * max(self.targets, 1)
        return Passes(runs * (self.steps + 1), int(self._evaluates_clean)) * max(self.draws, 1)

    @property
    def _evaluates_clean(self) -> bool:
        return self.early_exit or self.targets > 0

    @torch.no_grad()
    def _evaluate_clean(
        self, objective: Objective, clean: Tensor, keys: Keys, best: BestPoints, trace: TraceRecorder
    ) -> tuple[Tensor, Tensor]:
        """Who is left after a forward of the clean images, and the targets of all, ``[B, T]``."""
        everyone = torch.arange(len(clean), device=clean.device)
        targets = everyone.new_zeros(len(clean), 0)
        if not (self._evaluates_clean and len(clean)):
            return everyone, targets
        found = []
        for rows in everyone.split(self.width or len(clean)):
            part, x, own = objective.take(rows), clean[rows], keys[rows].fold("clean")
            targets = rows.new_zeros(len(rows), 0)
            if isinstance(part, ClassLoss):
                logits = part.objective.logits(x, own)
                if self.targets:
                    targets = likeliest(logits, part.objective.losing, self.targets, self.kappa)
                    part = replace(part, target=targets[:, 0])
                evaluation = part.evaluate(logits)
            else:
                evaluation = part(x, own)
            found.append(targets)
            trace.record(rows, evaluation.loss, first=True, early=True)
            wrong = evaluation.success & (self.confirm == 1)
            best.offer(rows[wrong], x[wrong], evaluation.loss[wrong], wrong[wrong])
        left = everyone[~best.success] if self.early_exit else everyone
        return left, torch.cat(found)

    def _evaluate(
        self, active: ActiveSet[Objective, State], targets: Tensor, *, last: bool
    ) -> tuple[Evaluation, Tensor | None]:
        """The loss at the iterates towards their target, with the gradient but for the last."""
        state, objective = active.state, active.objective
        if isinstance(objective, ClassLoss) and targets.shape[1]:
            turn = state.run % targets.shape[1]
            target = targets[active.rows].gather(1, turn[:, None])[:, 0]
            objective = replace(objective, target=target)
        keys = active.keys.at(state.run * (self.steps + 1) + state.step)
        if last:
            with torch.no_grad():
                return objective(state.x, keys), None
        gradient, evaluation = input_gradient(objective, state.x, keys)
        return evaluation, gradient

    def _notices(self, objective: Objective) -> tuple[str, ...]:
        if not isinstance(objective, ClassLoss):
            return ()
        return loss_notices(objective.objective, self.loss, self.targets > 0)

    # --- algorithm 1 of Croce & Hein 2020; in L1, of Croce & Hein 2021 -------------------------

    def start(self, rows: Tensor, clean: Tensor, threat: Threat, keys: Keys, run: Tensor) -> State:
        """The samples at the start of their runs, at random points on the sphere.

        Args:
            rows: their positions in the whole batch, ``[A]``; what follows is theirs.
            clean: the inputs.
            threat: the ball.
            keys: one for each.
            run: the number of the run that each begins.
        """
        x, count = _random_start(clean, threat, keys.fold("start").at(run)), torch.zeros_like(run)
        zero, low = clean.new_zeros(len(clean)), clean.new_full((len(clean),), float("-inf"))
        l1_ball = threat.ball == "l1"
        first = int((_L1_FIRST if l1_ball else _FIRST) * self.steps)
        return State(
            x=x,
            previous=x.clone(),
            gradient=torch.zeros_like(x),
            best_x=x.clone(),
            best_gradient=torch.zeros_like(x),
            loss=low,
            best=low.clone(),
            best_before=low.clone(),
            length=zero + threat.radii(clean) * (1 if l1_ball else 2),
            held=count.clone(),
            run=run.clone(),
            step=count,
            since=count.clone(),
            rises=count.clone(),
            interval=count + max(first, 1),
            shortened=count == 0,
            share=zero + _L1_SHARE,
            support=zero + clean[0:1].numel(),
        )

    def take_step(self, state: State, clean: Tensor, threat: Threat) -> None:
        """Takes the next step of all that have been evaluated where they are."""
        moving = state.step > 0
        if not bool(moving.any()):
            return
        length = per_sample(state.length)
        if threat.ball == "l1":
            sparse = l1.sparse_step(state.gradient, state.share)
            x = threat.project(state.x + sparse * length, clean)
        else:
            ahead = threat.project(threat.ascend(state.gradient, length).add_(state.x), clean)
            pull = per_sample(torch.where(state.step > 1, _PULL, 1.0).to(clean))
            drift = (state.x - state.previous).mul_(1 - pull)
            x = threat.project(drift.add_(torch.lerp(state.x, ahead, pull)), clean)
        if not bool(moving.all()):
            x = torch.where(per_sample(moving), x, state.x)
        state.x, state.previous = x, state.x

    def update(self, state: State, loss: Tensor, gradient: Tensor | None) -> None:
        """Takes in an evaluation of ``x``; the last one of all comes without a gradient."""
        loss, moved = loss.to(state.loss), state.step > 0
        better = torch.nonzero(loss > state.best).flatten()
        state.best_x[better], state.best[better] = state.x[better], loss[better]
        if gradient is not None:
            finite = bool(gradient.sum().isfinite())
            state.gradient = gradient if finite else torch.nan_to_num(gradient, 0.0, 0.0, 0.0)
            state.best_gradient[better] = state.gradient[better]
        state.rises += moved & (loss > state.loss)
        state.since += moved
        state.step += 1
        state.loss = loss

    def checkpoint(self, state: State, clean: Tensor, threat: Threat) -> None:
        """Shortens the steps of those that are due and have come to little: back to their best."""
        due = state.since == state.interval
        if not bool(due.any()):
            return
        back = _adapt_l1(state, clean, threat.eps, due) if threat.ball == "l1" else self._halve(state, due)
        state.x = torch.where(per_sample(back), state.best_x, state.x)
        state.gradient = torch.where(per_sample(back), state.best_gradient, state.gradient)
        state.since[due], state.rises[due] = 0, 0

    def _halve(self, state: State, due: Tensor) -> Tensor:
        """Halves the step where few steps rose, or neither step nor best loss changed."""
        idle = ~state.shortened & (state.best_before >= state.best)
        shorten = (state.rises <= self.rho * state.interval) | idle
        state.length = torch.where(due & shorten, state.length / 2, state.length)
        state.shortened = torch.where(due, shorten, state.shortened)
        state.best_before = torch.where(due, state.best, state.best_before)
        less, least = max(int(_LESS * self.steps), 1), max(int(_LEAST * self.steps), 1)
        interval = (state.interval - less).clamp_min(least)
        state.interval = torch.where(due, interval, state.interval)
        return due & shorten


def _adapt_l1(state: State, clean: Tensor, eps: float, due: Tensor) -> Tensor:
    """As sparse as the best point is; a full step again where that has become much sparser."""
    changed = (state.best_x != clean).flatten(1).sum(1).to(state.support)
    sparser = changed / state.support < 0.95
    shorter = (state.length / _L1_FALL).clamp_min(eps / _L1_SHORTEST)
    state.length = torch.where(due, torch.where(sparser, eps, shorter), state.length)
    size = clean[0:1].numel()
    state.share = torch.where(due, changed / size / _L1_FALL, state.share)
    state.support = torch.where(due, changed.clamp_min(1), state.support)
    return due & sparser


def _random_start(clean: Tensor, threat: Threat, keys: Keys) -> Tensor:
    norm, eps = threat.ball, threat.radius(clean)
    if norm == "linf":
        away = keys.uniform(clean.shape[1:], like=clean) * 2 - 1
        away = away / per_sample(away.flatten(1).abs().amax(1))
    else:
        away = keys.normal(clean.shape[1:], like=clean)
        away = away / per_sample(away.flatten(1).norm(dim=1)) if norm == "l2" else away / eps
    return threat.project(clean + eps * away, clean)


def likeliest(logits: Logits, losing: Tensor, count: int, kappa: float = 1.0) -> Tensor:
    """The likeliest classes but for the losing ones, mean over the draws, ``[B, count]`` at most.

    Where models must agree, those that all of them are nearest to, by
    :func:`~secondlook.attacks.class_objective.joint`; else those of the highest scores. Fewer where
    there are not so many.
    """
    scores = logits.scores.float().mean(1)
    left = scores.shape[1] - losing.shape[1]
    if logits.auxiliary.shape[2]:
        losing = losing[:, :1]
        leads = [joint(logits, losing, torch.full_like(losing[:, 0], t), kappa) for t in range(left + 1)]
        scores = torch.stack(leads, 2).mean(1)
    scores = scores.scatter(1, losing, float("-inf"))
    order = scores.sort(dim=1, descending=True, stable=True).indices
    return order[:, : min(count, left)]
