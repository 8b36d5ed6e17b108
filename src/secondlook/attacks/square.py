"""Square: random search that paints one square at a time and keeps what helps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from secondlook.attacks.base import Attack, Attacked, Objective
from secondlook.attacks.contest import Contest
from secondlook.attacks.losses import Measured
from secondlook.attacks.square_patterns import Painter, Stripes, shares
from secondlook.attacks.square_pyramids import Pyramids
from secondlook.attacks.square_search import Search
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat


@register("attack", "square")
@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Square attack: queries of scores and no gradient (Andriushchenko et al. 2020), L∞ or L2.

    Attributes:
        queries: forwards of a run, after one look at the clean image.
        p_init: share of the pixels that is painted at once in the beginning.
        loss: ``margin`` or ``ce`` over the scores of classes; empty climbs the loss of the
            objective itself, whatever it is.
        rescale: spreads the schedule of the squares' sides over ``queries``; as published it is
            the one of 10,000 queries, and is cut off.
        restarts: how often each sample is tried anew.
        early_exit: a sample leaves once it fools, rounded to 8 bits too; else it is driven to the
            highest loss.
        width: how many samples are in flight at once; 0 for all.

    Raises:
        InvalidInput: a number outside its range; an objective without classes, where ``loss``
            needs them; a norm that no squares are known for.
    """

    queries: int = 5000
    p_init: float = 0.8
    loss: Literal["", "margin", "ce"] = "margin"
    rescale: bool = False
    restarts: int = 1
    early_exit: bool = True
    width: int = 0

    def __post_init__(self) -> None:
        for field, least in (("queries", 1), ("restarts", 1), ("width", 0)):
            if getattr(self, field) < least:
                raise InvalidInput(f"{field}={getattr(self, field)}; write {least} or more")
        if not 0 < self.p_init <= 1:
            raise InvalidInput(f"p_init={self.p_init:g} is no share of the pixels; write 0.8")

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> Attacked:
        """Asks until every sample fools or has no query left."""
        search = Search(
            asked=self._asked(objective), painter=self._painter(clean, threat),
            clean=clean, threat=threat, keys=keys,
            runs=self.restarts, early_exit=self.early_exit, width=self.width,
        )  # fmt: skip
        search.run()
        return Attacked(search.best_x, search.trace())

    def _asked(self, objective: Objective) -> Objective:
        """The objective under the loss that is compared."""
        if not self.loss:
            return objective
        if not isinstance(objective, Contest):
            raise InvalidInput(
                f"loss={self.loss!r} needs the scores of classes, and {type(objective).__name__} "
                'has none; write loss = "" to climb its own'
            )
        return Measured(contest=objective, loss="ce" if self.loss == "ce" else "cw")

    def _painter(self, clean: Tensor, threat: Threat) -> Painter:
        """Who paints in this ball."""
        if threat.norm == "l1":
            raise InvalidInput(f"square has no squares for {threat}; write norm 'linf' or 'l2'")
        kind = Stripes if threat.norm == "linf" else Pyramids
        return kind(clean, threat.eps, shares(self.queries, self.p_init, self.rescale))
