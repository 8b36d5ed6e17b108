"""AutoAttack: a fixed ensemble without parameters, from cheap to strong, each on the survivors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from secondlook.attacks.apgd import APGD
from secondlook.attacks.base import Attack, AttackResult, Evaluation, Objective, Passes, Trace
from secondlook.attacks.class_objective import ClassLoss, ClassObjective, over_classes
from secondlook.attacks.fab import FAB
from secondlook.attacks.square import Square
from secondlook.attacks.target_halving import TargetHalving
from secondlook.bounds import Count, Natural, Share
from secondlook.ledger import Ledger, counting
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.statistics import wilson
from secondlook.threat import Norm, Threat

TARGETS = 9
PROBE = 100
"""Queries that a survivor of the version ``fast`` gets, to see whether its gradients are worth less."""
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

    The version ``fast`` is no published attack: it is to come to what ``standard`` comes to for a
    tenth of its passes. :class:`~secondlook.attacks.target_halving.TargetHalving` spends on each
    sample by how close it has come, and the survivors get APGD-CE in full, whose start at random takes
    some that no target does. Who is left then gets 100 queries of Square, and where those come closer
    than the targets did, FAB-T and Square in full (in L1, a short FAB-T). A share of the survivors, drawn
    by their keys, gets the standard version on top, and a notice says what that found, what the others
    may so hide, and what it cost.

    Attributes:
        version: ``standard`` (APGD-CE, APGD-T, FAB-T, Square), ``plus`` (five restarts of APGD-CE,
            APGD-DLR and FAB, then Square, APGD-T and FAB-T), ``rand`` for randomized victims
            (APGD-CE and APGD-DLR, the mean over 20 draws in each step), or ``fast``.
        steps: gradient steps of each run; in ``fast`` a run has a tenth of them at first, and the
            last one 8 tenths.
        queries: of Square.
        check: share of the survivors of ``fast`` that the standard version tries; 0 for none.
        width: samples attacked at once; 0 for all.

    Raises:
        InvalidInput: a number outside its range; in a search, ``fast`` on a randomized victim.
    """

    version: Literal["standard", "plus", "rand", "fast"] = "standard"
    steps: Count = 100
    queries: Count = 5000
    check: Share = 0.03
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
        if self.version == "fast":
            standard = {"standard": replace(self, version="standard")} if self.check else {}
            return self._fast(norm) | standard
        if self.version == "plus":
            return ce | dlr | {"fab": fab} | squares | apgd_t | fab_t
        return ce | apgd_t | fab_t | squares

    def _fast(self, norm: Norm) -> dict[str, Attack]:
        """The members of the version ``fast`` but for its check."""
        few = max(self.steps // 10, 1)
        halving: dict[str, Attack] = {
            "apgd-halving": TargetHalving(steps=few, targets=TARGETS, width=self.width),
            "apgd-ce": APGD(steps=self.steps, width=self.width),
        }
        fab = FAB(steps=self.steps, targets=TARGETS, width=self.width)
        if norm == "l1":
            return halving | {"fab-t": replace(fab, steps=few)}
        square = Square(queries=self.queries, width=self.width)
        return halving | {
            "square-probe": replace(square, queries=min(PROBE, self.queries)),
            "fab-t": fab,
            "square": square,
        }

    def passes(self, objective: Objective, threat: Threat) -> Passes | None:
        """Those of all members, and two looks at what each has found; the check's by its share."""
        total = Passes()
        for name, member in self.members(threat.ball).items():
            found = member.passes(objective, threat)
            if found is None:
                return None
            total += (found + Passes(queries=2)) * (self.check if name == "standard" else 1)
        return total * (EOT if self.version == "rand" else 1)

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """Lets each member try those that no member before has fooled.

        Raises:
            InvalidInput: the objective shows no scores of classes; a randomized victim in the
                version ``fast``.
        """
        over = over_classes(objective, "autoattack")
        over = over.with_draws(EOT) if self.version == "rand" else over
        members = self.members(threat.ball)
        tried = TriedBatch(over, clean, threat, keys, self.width)
        for name, member in members.items():
            if name == "standard":
                tried.check(member, self.check)
                continue
            gated = "square-probe" in members and name in ("fab-t", "square")
            tried.let(name, member, tried.masked() if gated else tried.left)
        if threat.ball == "l1" and self.version != "rand":
            tried.notices["square knows no L1 and was left out"] = None
        return AttackResult(tried.x, tried.trace, tuple(tried.notices), tried.by, tuple(members), success=tried.by >= 0)


class TriedBatch:
    """A batch that one member after the other has tried.

    Attributes:
        x: the point of each sample that fooled, else the first member's, ``[B, ...]``.
        by: the position of the member that fooled it, -1 for none, ``[B]``.
        trace, notices: of the members so far.
        leads: by how much the best wrong class led at what a member found, by its name, ``[B]``.
    """

    def __init__(self, objective: ClassObjective, clean: Tensor, threat: Threat, keys: Keys, width: int) -> None:
        self._objective, self._clean, self._threat, self._keys = objective, clean, threat, keys
        self._width = width
        self.x, self.by = clean.clone(), torch.full((len(clean),), -1, device=clean.device)
        self.trace, self.notices = Trace.unknown(clean), dict[str, None]()
        self.leads: dict[str, Tensor] = {}

    @property
    def left(self) -> Tensor:
        """Who is not fooled, positions ``[A]``."""
        return torch.nonzero(self.by < 0).flatten()

    def let(self, name: str, member: Attack, rows: Tensor) -> None:
        """Lets a member try the samples ``rows``."""
        index, clean, threat = len(self.leads), self._clean, self._threat
        self.leads[name] = clean.new_full((len(clean),), float("nan"))
        if not len(rows):
            return
        part, own = self._objective.take(rows), self._keys[rows].fold(name)
        found = member.search(part, clean[rows], threat, own)
        self.notices |= dict.fromkeys(found.notices)
        self.trace = found.trace if index == 0 else _joined(self.trace, rows, found.trace)
        exact = threat.project(found.x.detach(), clean[rows])
        rounded = threat.quantize(exact, clean[rows])
        loss, fooled = self._evaluate(part, rounded, own.fold("rounded"))
        self.leads[name][rows] = loss.to(clean)
        if index == 0:
            # Until somebody is fooled, the first member's point is the best there is.
            self.x[rows] = exact
        # Who is fooled between the levels alone keeps that point for now, and is tried on.
        moved = torch.nonzero(~fooled & (rounded != exact).flatten(1).any(1)).flatten()
        barely = moved[self._evaluate(part.take(moved), exact[moved], own[moved].fold("exact")).success]
        self.x[rows[barely]] = exact[barely]
        self.x[rows[fooled]], self.by[rows[fooled]] = rounded[fooled], index

    def masked(self) -> Tensor:
        """Those who are left and whose gradients are worth less than a few queries, ``[A]``."""
        blind = (self.trace.zero_gradient > 0.5) | (self.trace.bad_gradient > 0.5)
        blind |= self.leads["square-probe"] > self.leads["apgd-halving"]
        rows = torch.nonzero((self.by < 0) & blind).flatten()
        if len(rows):
            said = f"gradients of {len(rows)} samples look masked: they were tried by fab-t and square in full"
            self.notices[said] = None
        return rows

    def check(self, standard: Attack, share: float) -> None:
        """Lets the standard version try a share of those who are left, and says what the others may hide."""
        left = self.left
        drawn = left[self._keys[left].fold("check").uniform((1,))[:, 0].to(left.device) < share]
        with counting() as ledger:
            self.let("standard", standard, drawn)
        broken = int((self.by[drawn] >= 0).sum())
        self.notices[_verdict(broken, len(drawn), len(left), len(self.by), ledger)] = None

    @torch.no_grad()
    def _evaluate(self, objective: ClassObjective, x: Tensor, keys: Keys) -> Evaluation:
        """The lead of the best wrong class in a fresh forward of ``x``, and whether that fools, ``[A]``."""
        everyone = torch.arange(len(x), device=x.device)
        lead, success = x.new_zeros(len(x)), torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for some in everyone.split(self._width or max(len(x), 1)):
            if len(some):
                looked = ClassLoss(objective=objective.take(some), loss="cw")(x[some], keys[some])
                lead[some], success[some] = looked.loss.to(lead), looked.success
        return Evaluation(lead, success)


def _verdict(broken: int, drawn: int, left: int, count: int, spent: Ledger) -> str:
    """What the standard version found among those drawn, and what those not drawn may hide."""
    hidden = wilson(broken, drawn)
    low, high = (end * (left - drawn) / count for end in (hidden.low, hidden.high))
    return (
        f"check of the fast version: standard broke {broken} of {drawn} that were drawn of {left} survivors; "
        f"of {count} samples it would break between {low:.1%} and {high:.1%} more (95 %); "
        f"the check took {spent.forwards:,} forwards and {spent.backwards:,} backwards"
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
