"""Hybrid: gradients of surrogates, then queries to the victim from where they led."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from secondlook.attacks.base import Attack, AttackResult, Objective, Passes
from secondlook.attacks.di_fgsm import DIFGSM
from secondlook.attacks.square import Square
from secondlook.bounds import Count, Part
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat


@register("attack", "hybrid")
@dataclass(frozen=True, kw_only=True)
class Hybrid(Attack):
    """Square from the end of a transfer, in place of stripes (arXiv 2308.11804, hybrid illusions).

    The objective's first part is maximized by gradients, one step for each surrogate in turn or one
    for all, its last by queries. Both stages stay in the one ball of the threat. The paper starts
    from plain sign steps; here the transfer has momentum and diverse inputs (DI-FGSM), which
    transfer further. A victim that the transfer alone has fooled costs two queries.

    Attributes:
        transfer_steps: of the first stage.
        ensemble: of several surrogates, ``sequential`` as published, or their ``mean``.
        queries: of the second stage, after one of the clean image; the first is of where the
            transfer ended.
        p_init: see ``Square``; small, so that the start is not painted over. The paper has 0.01.
        rescale: see ``Square``.

    Raises:
        InvalidInput: a number outside its range, or a single objective where there are two stages.
    """

    transfers: ClassVar[bool] = True
    transfer_steps: Count = 50
    ensemble: Literal["sequential", "mean"] = "sequential"
    queries: Count = 1000
    p_init: Part = 0.05
    rescale: bool = False

    def passes(self, objective: Objective, threat: Threat) -> Passes:
        """The gradients of the transfer, for each surrogate that has a turn, and the queries."""
        return Passes(self.transfer_steps * len(objective.parts[0].parts), self.queries + 2)

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> AttackResult:
        """Gradients of the surrogates, then queries to the victim."""
        first, *_, last = [*objective.parts, objective.parts[-1]]
        if first is last:
            raise InvalidInput(
                "hybrid needs a surrogate's objective before the victim's; give it both, or take square, which "
                "only asks"
            )
        start = DIFGSM(steps=self.transfer_steps).search(first, clean, threat, keys.fold("transfer")).x
        square = Square(queries=self.queries, p_init=self.p_init, rescale=self.rescale, loss="")
        return square.search_from(start, last, clean, threat, keys.fold("query"))
