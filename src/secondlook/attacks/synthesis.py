"""Adaptive attack synthesis: a fixed list of gradient manners, and the worst of each sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import ClassVar, Final, Literal, NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor

from secondlook.attacks.apgd import APGD
from secondlook.attacks.base import Attack, AttackResult, Evaluation, Objective, Passes, Trace
from secondlook.attacks.candidate_halving import CandidateHalving, Choosing, ContinuedAPGD, confirmed, with_search
from secondlook.attacks.class_objective import ClassObjective
from secondlook.attacks.search_state import BestPoints
from secondlook.attacks.square import Square
from secondlook.bounds import Count, Natural
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat

TARGETS: Final = 3
"""Wrong classes that the targeted search drives a sample to, in turn."""
CONFIRM: Final = 3
"""Evaluations in a row that a randomized defense must lose before a sample is believed taken."""
BARE, OWN, QUERIES = "bare", "as-is", "queries"
"""The manners that others are held against: the bare model's attack, the objective itself, and no gradient."""
TARGETED: Final = (BARE, OWN)
"""Manners that are climbed under the targeted margin as well."""


@runtime_checkable
class Mannered(Protocol):
    """An objective that can be climbed in several manners."""

    @property
    def stochastic(self) -> bool:
        """Whether two evaluations of one input may differ."""
        ...

    def manners(self, full: bool, keys: Keys) -> Mapping[str, Objective | str]:
        """Objectives over the same samples whose gradient may aim better, in the order in which they are tried.

        Where a manner cannot be had, a sentence says why. ``as-is`` is the objective itself.

        Args:
            full: all manners, or only those of the cheap budget.
            keys: one for each sample, for draws that are recorded.
        """
        ...


@runtime_checkable
class Anchored(Objective, Protocol):
    """An objective that has to be told of the clean inputs before it is evaluated."""

    def anchored(self, clean: Tensor, keys: Keys) -> Objective:
        """The same with all that it needs of the clean inputs, ``[B, ...]``."""
        ...


class MannerSearch(NamedTuple):
    """One attack on one manner.

    Attributes:
        name: of the manner, and of the search where it is not the usual one.
        objective: what is climbed; what is reached is confirmed by the true objective.
        attack: how.
        continued: whether it starts from the best point so far, and not anew.
    """

    name: str
    objective: Objective
    attack: Attack
    continued: bool = False

    def on(self, rows: Tensor, clean: Tensor, keys: Keys) -> Objective:
        """What is climbed for the samples ``rows`` of a batch, whose inputs and keys are given."""
        objective = self.objective.take(rows)
        return objective.anchored(clean, keys) if isinstance(objective, Anchored) else objective


@register("attack", "synthesis")
@dataclass(frozen=True, kw_only=True)
class Synthesis(Attack):
    """Tries each manner of attacking a defense in turn, on the samples that no other has taken.

    A defense may hide its gradient: so its model is attacked bare, in all steps and not only until the
    bare model fails, and the result shown to it; the defense is climbed as it is, and straight past its
    transform; with more draws (EOT), with the draws of one moment replayed, with its gate taken away,
    with the mean over the iterates of its loop, away from the vector of the clean image, from where the
    bare attack ended, and by queries alone. Where several answers would do, they are tried by
    :class:`~secondlook.attacks.candidate_halving.CandidateHalving`. Each other manner is an APGD, on
    cross-entropy and on a targeted margin where there are classes, else on the goal's own loss. No
    manner's own claim is believed: what it has made is evaluated by the true objective, on the threat's
    grid, with draws that the search has not seen. A sample that succeeds there is the manner's; of the
    others the point of the highest loss is kept. The idea is that of Croce et al. 2022 (arXiv
    2202.13711) and Tramer et al. 2020 (arXiv 2002.08347), made automatic.

    Attributes:
        budget: ``cheap``: the bare replay, the defense as it is, and straight through; ``full``: all.
        steps: gradient steps of each search.
        restarts: of each search.
        looks: fresh draws of a randomized defense that judge a point; all of them must succeed.
        queries: of the search without a gradient, in the full budget.
        width: samples attacked at once; 0 for all.

    Raises:
        InvalidInput: a number below its least.
    """

    replays_bare: ClassVar[bool] = True
    budget: Literal["cheap", "full"] = "cheap"
    steps: Count = 50
    restarts: Count = 1
    looks: Count = 4
    queries: Count = 1000
    width: Natural = 0

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """Lets each manner try those that no manner before has taken.

        Raises:
            InvalidInput: an ensemble whose members take turns, or no manner can run.
        """
        if len(objective.parts) > 1:
            raise InvalidInput("synthesis maximizes one objective; write ensemble='mean'")
        searches, notices = self.searches(objective, keys)
        best, by = BestPoints(clean), torch.full((len(clean),), -1, device=clean.device)
        trace, rows = Trace.unknown(clean), torch.arange(len(clean), device=clean.device)
        refused: list[InvalidInput] = []
        for index, manner in enumerate(searches):
            if not len(rows):
                break
            own = keys[rows].fold("manner", manner.name)
            try:
                found = searched(manner, rows, clean, best.x, threat, own)
            except InvalidInput as error:
                notices[f"manner {manner.name} could not run: {error}"] = None
                refused.append(error)
                continue
            x = threat.quantize(threat.project(found.x.detach(), clean[rows]), clean[rows])
            told = self.confirmed(objective.take(rows), x, keys[rows].fold("judge", manner.name))
            best.offer(rows, x, told.loss, told.success)
            trace = with_search(trace, rows, found.trace)
            by[rows[told.success]] = index
            notices |= dict.fromkeys(found.notices)
            rows = rows[~told.success]
        if len(refused) == len(searches):
            raise refused[0]
        names = tuple(each.name for each in searches)
        return AttackResult(best.x, trace, tuple(notices), by, names, success=best.success)

    def passes(self, objective: Objective, threat: Threat) -> Passes | None:
        """Those of all manners, each with its own draws, and the looks that judge them."""
        total, draws = Passes(), getattr(objective, "draws", 1)
        for each in self.searches(objective, Keys.of(0, ["passes"]))[0]:
            found = each.attack.passes(each.objective, threat)
            if found is None:
                return None
            looks = Passes(queries=self._looks(objective) + isinstance(each.objective, Anchored))
            members = len(getattr(each.objective, "members", ())) or 1
            total += found * (members * getattr(each.objective, "draws", draws) / draws) + looks
        return total

    def searches(self, objective: Objective, keys: Keys) -> tuple[list[MannerSearch], dict[str, None]]:
        """All searches in their order, and why some manner is none of them."""
        full = self.budget == "full"
        manners: Mapping[str, Objective | str] = {OWN: objective}
        if isinstance(objective, Mannered):
            manners = objective.manners(full, keys.fold("recorded"))
        known = {name: each for name, each in manners.items() if not isinstance(each, str)}
        reasons = {f"manner {name}: {why}": None for name, why in manners.items() if isinstance(why, str)}
        searches = [one for name, each in known.items() for one in self._gradient_searches(name, each)]
        if full:
            searches.append(MannerSearch("continued", objective, self._apgd(objective), continued=True))
            searches.append(MannerSearch(QUERIES, objective, self._square(objective)))
        return searches, reasons

    def _gradient_searches(self, name: str, objective: Objective) -> Iterator[MannerSearch]:
        if isinstance(objective, Choosing):
            yield MannerSearch(name, objective, self._halving(objective))
            return
        # What is shown to a defense must not lie just past the border of the bare model.
        apgd = replace(self._apgd(objective), early_exit=name != BARE)
        yield MannerSearch(name, objective, apgd)
        if name in TARGETED and isinstance(objective, ClassObjective):
            yield MannerSearch(f"{name}, targeted margin", objective, replace(apgd, restarts=1, targets=TARGETS))

    def _square(self, objective: Objective) -> Square:
        loss: Literal["", "margin"] = "margin" if isinstance(objective, ClassObjective) else ""
        return Square(queries=self.queries, loss=loss, width=self.width)

    def _looks(self, objective: Objective) -> int:
        return self.looks if _stochastic(objective) else 1

    def _halving(self, objective: Objective) -> CandidateHalving:
        """As many steps in the last run; the shorter runs before it tell which answer is worth them."""
        confirm = CONFIRM if _stochastic(objective) else 1
        return CandidateHalving(steps=self.steps, looks=self._looks(objective), confirm=confirm, width=self.width)

    def _apgd(self, objective: Objective) -> APGD:
        """Its best iterate counts; a lucky draw of a randomized defense ends nothing."""
        return APGD(
            steps=self.steps,
            restarts=self.restarts,
            loss="ce" if isinstance(objective, ClassObjective) else "",
            confirm=CONFIRM if _stochastic(objective) else 1,
            width=self.width,
        )

    def confirmed(self, objective: Objective, x: Tensor, keys: Keys) -> Evaluation:
        """The mean loss over fresh looks, and whether all of them succeed, ``[A]`` each."""
        return confirmed(objective, x, keys, self._looks(objective), self.width)


def _stochastic(objective: Objective) -> bool:
    return isinstance(objective, Mannered) and objective.stochastic


def searched(
    manner: MannerSearch, rows: Tensor, clean: Tensor, best: Tensor, threat: Threat, keys: Keys
) -> AttackResult:
    """What a search makes of the samples ``rows`` of a batch; ``best`` are all points so far."""
    attack = manner.attack
    if manner.continued and isinstance(attack, APGD):
        attack = ContinuedAPGD.of(attack, best[rows])
    return attack.search(manner.on(rows, clean[rows], keys), clean[rows], threat, keys)
