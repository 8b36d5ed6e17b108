"""FAB: steps onto the linearised decision boundary, drawn back to the clean image all the while."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from secondlook.attacks.base import Attack, Attacked, Objective
from secondlook.attacks.contest import contest
from secondlook.attacks.fab_finish import Finish
from secondlook.attacks.fab_walk import Walk
from secondlook.attacks.pool import Pool
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.threat import Threat


@register("attack", "fab")
@dataclass(frozen=True, kw_only=True)
class FAB(Attack):
    """Fast adaptive boundary attack: steps to the nearest wrong answer (Croce & Hein 2020).

    A step goes onto the linearised boundary, from where it is and from the clean image, and
    blends the two. One forward serves both the gradient and the judgement of an iterate: from
    beyond the boundary the next step starts nearer to the clean image, but keeps the
    linearisation made beyond, where the paper spends another forward.

    Attributes:
        steps: gradient steps of each run.
        restarts: runs against each target; the first starts at the clean image.
        targets: 0 goes to the nearest boundary of all classes, with a backward for each of them
            in each step; k > 0 (FAB-T) to those of the k likeliest other classes in turn.
        alpha_max: largest share of the clean image's side in the blend.
        eta: overshoot beyond the boundary.
        beta: where a point beyond the boundary is drawn back to, 0 being the clean image.
        early_exit: a sample is done once it fools within eps, and is then pushed out to eps if
            it fools there too, lest rounding to 8 bits undoes it; otherwise the nearest point
            that fools is looked for, whatever eps.
        width: samples in flight at once, the next following as one leaves; 0 for all.

    Raises:
        InvalidInput: a number or a factor outside its range.
    """

    steps: int = 100
    restarts: int = 1
    targets: int = 0
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    early_exit: bool = True
    width: int = 0

    def __post_init__(self) -> None:
        for field, least in (("steps", 1), ("restarts", 1), ("targets", 0), ("width", 0)):
            if getattr(self, field) < least:
                raise InvalidInput(f"{field}={getattr(self, field)}; write {least} or more")
        for field, low, high in (("alpha_max", 0, 1), ("eta", 1, 2), ("beta", 0, 1)):
            if not low <= getattr(self, field) <= high:
                value = getattr(self, field)
                raise InvalidInput(f"{field}={value:g}; write a number from {low} to {high}")

    def search(self, objective: Objective, clean: Tensor, threat: Threat, keys: Keys) -> Attacked:
        """Every run in turn, then the last bit of the way.

        Raises:
            InvalidInput: the objective shows no scores of classes.
        """
        bout = contest(objective, "fab")
        walk = Walk(self, bout, clean, threat)
        pool = Pool(bout, clean, keys, walk.begin, width=self.width)
        while len(pool):
            pool.leave(walk.turn(pool))
        finish = Finish(
            bout=bout, clean=clean, keys=keys, threat=threat, diary=walk.diary, width=self.width
        )
        finish.draw_nearer(walk.found, threat.eps if self.early_exit else 0.0, self.eta)
        if self.early_exit:
            finish.push_out(walk.found)
        return Attacked(walk.found.x, walk.diary.trace())
