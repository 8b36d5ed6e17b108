"""APGD towards many targets in short runs, of which the closer half goes on for twice as long."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from secondlook.attacks.apgd import APGD, State, likeliest
from secondlook.attacks.base import Attack, AttackResult, Evaluation, Objective, Passes, differentiate, input_gradient
from secondlook.attacks.class_objective import ClassLoss, ClassObjective, fooled, joint, loss_notices, over_classes
from secondlook.attacks.search_state import ActiveSet, BestPoints, TraceRecorder, put
from secondlook.bounds import Count, Natural, Share, bounded
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.threat import Threat

LOOKS, _ALIKE = 8, 1e-3
"""Clean images that are looked at twice, and how far their losses may differ where nothing is drawn."""


@dataclass
class Standings:
    """What is known of the samples and of their targets.

    Attributes:
        targets: the likeliest wrong classes of the clean image, ``[B, T]``.
        clean: the loss towards each of them there, ``[B, T]``.
        reached: the highest loss towards each of them so far, ``[B, T]``.
        gradient: of the first of ``clean``, ``[B, ...]``.
        best: the best point of each sample, whatever the target.
        trace: of all runs.
    """

    targets: Tensor
    clean: Tensor
    reached: Tensor
    gradient: Tensor
    best: BestPoints
    trace: TraceRecorder

    def closest(self, count: int) -> Tensor:
        """The columns of the targets that were come closest to, ``[B, count]`` at most."""
        return self.reached.argsort(dim=1, descending=True, stable=True)[:, :count]

    def worth(self, patience: float) -> Tensor:
        """Who is not fooled, and has come at least so large a share of the way to a target, ``[A]``."""
        way = (1 - self.reached / self.clean).nan_to_num(0).amax(1)
        return torch.nonzero(~self.best.success & (way >= patience)).flatten()


@bounded
@dataclass(frozen=True, kw_only=True)
class TargetHalving(Attack):
    """APGD under the targeted DLR, by successive halving (Karnin et al. 2013) of each sample's targets.

    The first round tries all targets in short runs, and each further round half as many, those
    that the sample has come closest to, for twice as many steps, from its best point so far. A
    sample leaves as soon as it is fooled, and after a round without hope: less than ``patience``
    of the way from the clean image to the nearest target's boundary, measured in the loss. All
    that is decided of a sample comes from its own runs. The first run of all starts at the clean
    image, so that what one step fools costs hardly more than that step.

    Attributes:
        steps: of a run in the first round.
        targets: likeliest wrong classes that are tried.
        patience: share of the way below which a sample is given up; 0 goes on with everyone.
        width: how many samples are attacked at once; 0 for all.

    Raises:
        InvalidInput: a number outside its range; in a search, an objective without classes, or a
            victim that is randomized: one look at it proves nothing.
    """

    steps: Count = 10
    targets: Count = 9
    patience: Share = 0.5
    width: Natural = 0

    def rounds(self, targets: int) -> Iterator[tuple[int, int]]:
        """Of every round the targets of each sample, and the steps of a run, where there are ``targets``."""
        count, steps = self.targets, self.steps
        yield min(count, targets), steps
        while count > 1:
            count, steps = count // 2, 2 * steps
            if count <= targets:
                yield count, steps

    def passes(self, objective: Objective, threat: Threat) -> Passes:
        """Two looks at the clean images, and the runs of all rounds."""
        classes = over_classes(objective, "target halving").classes - 1
        runs = sum(count * (steps + 1) for count, steps in self.rounds(min(self.targets, classes)))
        return Passes(1 + runs, 1)

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """One round after the other, each with those who are worth it."""
        if len(objective.parts) > 1:
            raise InvalidInput("apgd maximizes one objective; write ensemble='mean'")
        over = over_classes(objective, "target halving")
        standings = self._first_look(over, clean, keys)
        refuse_randomized(over, clean, keys, standings)
        rows = torch.nonzero(~standings.best.success).flatten()
        for number, (count, steps) in enumerate(self.rounds(standings.targets.shape[1])):
            if len(rows):
                part = Round(number, APGD(steps=steps), standings.closest(count), standings)
                part.run(ClassLoss(objective=over), clean, threat, keys.fold("round", number), rows, self.width)
            rows = standings.worth(self.patience)
        best, notices = standings.best, loss_notices(over, "", targeted=True)
        return AttackResult(best.x, standings.trace.trace(), notices, success=best.success)

    def _first_look(self, over: ClassObjective, clean: Tensor, keys: Keys) -> Standings:
        """The clean images: who is wrong already, and where the likeliest wrong class is."""
        best, trace = BestPoints(clean), TraceRecorder(clean)
        count = min(self.targets, over.classes - 1)
        everyone, gradients = torch.arange(len(clean), device=clean.device), torch.zeros_like(clean)
        targets, losses = everyone.new_zeros(len(clean), count), clean.new_zeros(len(clean), count)
        for rows in everyone.split(self.width or max(len(clean), 1)):
            if not len(rows):
                break
            part, x = over.take(rows), clean[rows].requires_grad_()
            logits = part.logits(x, keys[rows].fold("clean"))
            found = likeliest(logits, part.losing, count)
            each = torch.stack([joint(logits, part.losing, target).mean(1) for target in found.unbind(1)], 1)
            gradients[rows] = differentiate(each[:, 0], x)
            targets[rows], losses[rows] = found, each.detach().to(losses)
            trace.record(rows, losses[rows, 0], gradients[rows], first=True, early=True)
            wrong = fooled(logits.scores.detach(), part.losing)
            best.offer(rows[wrong], clean[rows[wrong]], losses[rows[wrong], 0], wrong[wrong])
        return Standings(targets, losses, losses.clone(), gradients, best, trace)


@torch.no_grad()
def refuse_randomized(over: ClassObjective, clean: Tensor, keys: Keys, standings: Standings) -> None:
    """Looks at a few clean images once more, with other keys.

    Raises:
        InvalidInput: the victim answers otherwise than at the first look.
    """
    rows = torch.arange(len(clean), device=clean.device)[:LOOKS]
    if not len(rows):
        return
    part, first = over.take(rows), standings.clean[rows, 0]
    logits = part.logits(clean[rows], keys[rows].fold("again"))
    again = joint(logits, part.losing, standings.targets[rows, 0]).mean(1).to(first)
    if not torch.allclose(again, first, rtol=_ALIKE, atol=1e-5, equal_nan=True):
        raise InvalidInput(
            "the victim answers differently each time, and the fast version looks once; write version='rand'"
        )


@dataclass(frozen=True)
class Round:
    """Runs of equal length, one after the other towards each target that is left to a sample.

    Attributes:
        number: counts the rounds; in the first one, 0, runs start at the clean image and then at
            random points, later at the best point of the sample; in L1, where a run makes its
            steps sparser all the time, at random points again.
        apgd: takes the steps.
        columns: the targets of each sample in their order, as columns of the standings, ``[B, R]``.
        standings: are kept up to date.
    """

    number: int
    apgd: APGD
    columns: Tensor
    standings: Standings

    def run(self, loss: ClassLoss, clean: Tensor, threat: Threat, keys: Keys, rows: Tensor, width: int) -> None:
        """Lets the samples ``rows`` run, until each is fooled or has had all of its targets."""

        def begin(rows: Tensor) -> State:
            return self._start(rows, torch.zeros_like(rows), clean[rows], threat, keys[rows])

        best, steps = self.standings.best, self.apgd.steps
        active = ActiveSet(loss, clean, keys, begin, rows=rows, width=width)
        while len(active):
            state, rows = active.state, active.rows
            self.apgd.take_step(state, active.clean, threat)
            final = state.step == steps
            evaluation, gradient = self._evaluate(active, last=bool(final.all()))
            won = evaluation.success
            best.offer(rows[won], state.x[won], evaluation.loss[won], won[won])
            self.apgd.update(state, evaluation.loss, gradient)
            self.apgd.checkpoint(state, active.clean, threat)
            self._write_down(state, rows, final)
            again = final & ~won & (state.run + 1 < self.columns.shape[1])
            if bool(again.any()):
                run = state.run[again] + 1
                put(state, again, self._start(rows[again], run, active.clean[again], threat, active.keys[again]))
            active.leave(won | (final & ~again))

    def _start(self, rows: Tensor, run: Tensor, clean: Tensor, threat: Threat, keys: Keys) -> State:
        """The samples at the start of a run."""
        state, standings = self.apgd.start(rows, clean, threat, keys, run), self.standings
        if self.number == 0 and not bool(run.any()):
            state.x, state.previous, state.best_x = clean.clone(), clean.clone(), clean.clone()
            self.apgd.update(state, standings.clean[rows, 0], standings.gradient[rows])
        elif self.number and threat.ball != "l1":
            state.x = standings.best.x[rows].clone()
            state.previous, state.best_x = state.x.clone(), state.x.clone()
        return state

    def _evaluate(self, active: ActiveSet[ClassLoss, State], *, last: bool) -> tuple[Evaluation, Tensor | None]:
        """The loss at the iterates towards their target, with the gradient but for the last."""
        state, rows = active.state, active.rows
        target = self.standings.targets[rows].gather(1, self._column(state, rows)[:, None])[:, 0]
        objective = replace(active.objective, target=target)
        keys = active.keys.at(state.run * (self.apgd.steps + 1) + state.step)
        gradient = None
        if last:
            with torch.no_grad():
                evaluation = objective(state.x, keys)
        else:
            gradient, evaluation = input_gradient(objective, state.x, keys)
        self.standings.trace.record(rows, evaluation.loss, gradient, early=self.number == 0)
        return evaluation, gradient

    def _write_down(self, state: State, rows: Tensor, final: Tensor) -> None:
        """What the runs that are over have come to."""
        if not bool(final.any()):
            return
        at, column, reached = rows[final], self._column(state, rows)[final], self.standings.reached
        self.standings.best.offer(at, state.best_x[final], state.best[final])
        reached[at, column] = reached[at, column].maximum(state.best[final])

    def _column(self, state: State, rows: Tensor) -> Tensor:
        """Which target each sample runs to, as a column of the standings, ``[A]``."""
        return self.columns[rows].gather(1, state.run[:, None])[:, 0]
