"""AutoAttack: a fixed ensemble without parameters, from cheap to strong, each on the survivors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from secondlook.attacks.apgd import APGD
from secondlook.attacks.base import Attack, Attacked, Objective, Trace
from secondlook.attacks.contest import Contest, contest
from secondlook.attacks.fab import FAB
from secondlook.attacks.square import Square
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Norm, Threat

TARGETS = 9
EOT = 20
"""Looks in each step of the version ``rand`` (the reference's ``eot_iter``)."""


@register("attack", "autoattack")
@dataclass(frozen=True, kw_only=True)
class AutoAttack(Attack):
    """The standard ensemble of APGD, FAB and Square (Croce & Hein 2020), for any number of classes.

    No member's own claim is believed: its points are looked at again, as an 8-bit file holds
    them, and only whom those fool is counted as the member's; all others go on to the next. The
    losses of the trace are those of the first member, which all samples go through; its steps are
    all members', and its gradients those of the sickest.

    Attributes:
        version: ``standard`` (APGD-CE, APGD-T, FAB-T, Square), ``plus`` (five restarts of APGD-CE,
            APGD-DLR and FAB, then Square, APGD-T and FAB-T), or ``rand`` for randomised victims
            (APGD-CE and APGD-DLR, the mean over 20 looks in each step).
        steps: gradient steps of each run.
        queries: of Square.
        width: samples in flight at once; 0 for all.

    Raises:
        InvalidInput: a number below its least.
    """

    version: Literal["standard", "plus", "rand"] = "standard"
    steps: int = 100
    queries: int = 5000
    width: int = 0

    def __post_init__(self) -> None:
        for field, least in {"steps": 1, "queries": 1, "width": 0}.items():
            if getattr(self, field) < least:
                raise InvalidInput(f"{field}={getattr(self, field)}; write {least} or more")

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

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> Attacked:
        """Lets each member try those that no member before has fooled.

        Raises:
            InvalidInput: the objective shows no scores of classes.
        """
        over = contest(objective, "autoattack")
        relay = Relay(over.drawing(EOT) if self.version == "rand" else over, clean, threat)
        members = self.members(threat.norm)
        for index, (name, member) in enumerate(members.items()):
            if len(relay.rows):
                relay.run(index, member, keys.fold(name), self.width)
        found = relay.finish(tuple(members))
        if threat.norm == "l1" and self.version != "rand":
            return found._replace(notices=(*found.notices, "square knows no L1 and was left out"))
        return found


class Relay:
    """The samples on their way from member to member.

    Attributes:
        rows: positions of those that are not fooled yet.
    """

    def __init__(self, bout: Contest, clean: Tensor, threat: Threat) -> None:
        self._bout, self._clean, self._threat = bout, clean, threat
        self.rows = torch.arange(len(clean), device=clean.device)
        self._by = torch.full_like(self.rows, -1)
        self._x = clean.clone()
        self._notices: dict[str, None] = {}
        blank = clean.new_full((len(clean),), float("nan"))
        self._trace = Trace(
            first_loss=blank, middle_loss=blank, last_loss=blank,
            zero_gradient=torch.zeros_like(blank), bad_gradient=torch.zeros_like(blank),
            steps=torch.zeros_like(blank),
        )  # fmt: skip

    def run(self, index: int, member: Attack, keys: Keys, width: int) -> None:
        """Lets a member try everyone who is left."""
        rows, bout = self.rows, self._bout.take(self.rows)
        clean, keys = self._clean[rows], keys[rows]
        found = member.search(bout, clean, self._threat, keys)
        x = self._threat.project(found.x.detach(), clean)
        rounded = self._threat.quantise(x, clean)
        sure = self._fooled(rows, rounded, keys.fold("rounded"), width)
        # Whoever is fooled between the levels alone keeps that point for now, and is tried on.
        doubtful = ~sure & (rounded != x).flatten(1).any(1)
        barely = torch.zeros_like(sure)
        barely[doubtful] = self._fooled(
            rows[doubtful], x[doubtful], keys[doubtful].fold("exact"), width
        )
        self._note(index, rows, found)
        if index == 0:
            # Until somebody is fooled, the first member's point is the best there is.
            self._x = x
        self._x[rows[barely]] = x[barely]
        self._x[rows[sure]], self._by[rows[sure]] = rounded[sure], index
        self.rows = rows[~sure]

    def finish(self, members: tuple[str, ...]) -> Attacked:
        """What all members together have made."""
        return Attacked(self._x, self._trace, tuple(self._notices), self._by, members)

    def _fooled(self, rows: Tensor, x: Tensor, keys: Keys, width: int) -> Tensor:
        seen = torch.zeros(len(rows), dtype=torch.bool, device=x.device)
        with torch.no_grad():
            for some in torch.arange(len(rows), device=x.device).split(width or max(len(rows), 1)):
                if len(some):
                    seen[some] = self._bout.take(rows[some])(x[some], keys[some]).reached
        return seen

    def _note(self, index: int, rows: Tensor, found: Attacked) -> None:
        self._notices |= dict.fromkeys(found.notices)
        whole, part = self._trace, found.trace
        if index == 0:
            self._trace = part
            return
        whole.steps[rows] += part.steps
        for mine, theirs in (
            (whole.zero_gradient, part.zero_gradient),
            (whole.bad_gradient, part.bad_gradient),
        ):
            mine[rows] = mine[rows].maximum(theirs)
