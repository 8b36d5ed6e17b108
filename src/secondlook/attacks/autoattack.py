"""AutoAttack: a fixed ensemble without parameters, from cheap to strong, each on the survivors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from secondlook.attacks.apgd import APGD
from secondlook.attacks.base import Attack, AttackResult, Objective, Trace
from secondlook.attacks.class_objective import ClassObjective, over_classes
from secondlook.attacks.fab import FAB
from secondlook.attacks.square import Square
from secondlook.bounds import Count, Natural
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Norm, Threat

TARGETS = 9
EOT = 20
"""Draws in each step of the version ``rand`` (the reference's ``eot_iter``)."""


@register("attack", "autoattack")
@dataclass(frozen=True, kw_only=True)
class AutoAttack(Attack):
    """The standard ensemble of APGD, FAB and Square (Croce & Hein 2020), for any number of classes.

    No member's own claim is believed: its points are evaluated again, on the threat's grid where
    it has one, and only a sample that those fool is the member's; all others go on to the next.
    The losses of the trace are those of the first member, which all samples go through; its steps
    are all members', and its gradients the worst of all.

    Attributes:
        version: ``standard`` (APGD-CE, APGD-T, FAB-T, Square), ``plus`` (five restarts of APGD-CE,
            APGD-DLR and FAB, then Square, APGD-T and FAB-T), or ``rand`` for randomized victims
            (APGD-CE and APGD-DLR, the mean over 20 draws in each step).
        steps: gradient steps of each run.
        queries: of Square.
        width: samples attacked at once; 0 for all.

    Raises:
        InvalidInput: a number below its least.
    """

    version: Literal["standard", "plus", "rand"] = "standard"
    steps: Count = 100
    queries: Count = 5000
    width: Natural = 0

    def members(self, norm: Norm = "linf") -> Mapping[str, Attack]:
        """The attacks in their order, by name; in L1 there is no Square."""
        restarts = 5 if self.version == "plus" else 1
        apgd = APGD(steps=self.steps, width=self.width, restarts=restarts)
        ce, dlr = {"apgd-ce": apgd}, {"apgd-dlr": replace(apgd, loss="dlr")}
        apgd_t = {"apgd-t": replace(apgd, targets=TARGETS, restarts=1)}
        fab = FAB(steps=self.steps, width=self.width, restarts=restarts)
        fab_t = {"fab-t": replace(fab, targets=TARGETS, restarts=1)}
        square = Square(queries=self.queries, width=self.width)
        squares: dict[str, Attack] = {} if norm == "l1" else {"square": square}
        if self.version == "rand":
            return ce | dlr
        if self.version == "plus":
            return ce | dlr | {"fab": fab} | squares | apgd_t | fab_t
        return ce | apgd_t | fab_t | squares

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """Lets each member try those that no member before has fooled.

        Raises:
            InvalidInput: the objective shows no scores of classes.
        """
        over = over_classes(objective, "autoattack")
        over = over.with_draws(EOT) if self.version == "rand" else over
        members = self.members(threat.norm)
        rows = torch.arange(len(clean), device=clean.device)
        x, by = clean.clone(), torch.full_like(rows, -1)
        trace, notices = _no_trace(clean), dict[str, None]()
        for index, (name, member) in enumerate(members.items()):
            if not len(rows):
                break
            part, own = over.take(rows), keys[rows].fold(name)
            found = member.search(part, clean[rows], threat, own)
            notices |= dict.fromkeys(found.notices)
            trace = found.trace if index == 0 else _joined(trace, rows, found.trace)
            exact = threat.project(found.x.detach(), clean[rows])
            rounded = threat.quantize(exact, clean[rows])
            fooled = self._fooled(part, rounded, own.fold("rounded"))
            if index == 0:
                # Until somebody is fooled, the first member's point is the best there is.
                x = exact.clone()
            # Who is fooled between the levels alone keeps that point for now, and is tried on.
            moved = torch.nonzero(~fooled & (rounded != exact).flatten(1).any(1)).flatten()
            barely = moved[self._fooled(part.take(moved), exact[moved], own[moved].fold("exact"))]
            x[rows[barely]] = exact[barely]
            x[rows[fooled]], by[rows[fooled]] = rounded[fooled], index
            rows = rows[~fooled]
        if threat.norm == "l1" and self.version != "rand":
            notices["square knows no L1 and was left out"] = None
        return AttackResult(x, trace, tuple(notices), by, tuple(members), success=by >= 0)

    @torch.no_grad()
    def _fooled(self, objective: ClassObjective, x: Tensor, keys: Keys) -> Tensor:
        """Whether a fresh forward of ``x`` is a success, ``[A]`` bool."""
        everyone = torch.arange(len(x), device=x.device)
        success = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for some in everyone.split(self.width or max(len(x), 1)):
            if len(some):
                success[some] = objective.take(some)(x[some], keys[some]).success
        return success


def _no_trace(clean: Tensor) -> Trace:
    unknown, none = clean.new_full((len(clean),), float("nan")), clean.new_zeros(len(clean))
    return Trace(
        first_loss=unknown, middle_loss=unknown, last_loss=unknown, zero_gradient=none, bad_gradient=none, steps=none
    )


def _joined(trace: Trace, rows: Tensor, member: Trace) -> Trace:
    """The trace with a further member's steps, and its gradients where they were worse."""
    zero, bad = trace.zero_gradient, trace.bad_gradient
    return replace(
        trace,
        steps=trace.steps.index_add(0, rows, member.steps),
        zero_gradient=zero.index_copy(0, rows, zero[rows].maximum(member.zero_gradient)),
        bad_gradient=bad.index_copy(0, rows, bad[rows].maximum(member.bad_gradient)),
    )
