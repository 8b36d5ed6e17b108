"""An objective over classes: what an attack may ask of it beyond a loss."""

from __future__ import annotations

from typing import NamedTuple, Protocol, Self, runtime_checkable

from torch import Tensor

from secondlook.attacks.base import Judged, Objective
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys


class View(NamedTuple):
    """What the victim's draws say of a batch.

    Attributes:
        scores: ``[B, N, K]`` of each draw; a victim that can reject has one column more, the
            last, which is the highest exactly where it rejects.
        opinions: ``[B, N, M, K]``, the scores of M further models that must agree; M may be 0.
    """

    scores: Tensor
    opinions: Tensor


@runtime_checkable
class Contest(Objective, Protocol):
    """An objective that also shows scores, so that an attack can bring a loss of its own."""

    @property
    def losing(self) -> Tensor:
        """The columns of the scores that an attacker must leave behind, ``[B, L]``.

        The truth comes first; then, where the victim can reject, the rejection.
        """
        ...

    @property
    def classes(self) -> int:
        """How many classes K there are, without the rejection."""
        ...

    def look(self, x: Tensor, keys: Keys) -> View:
        """The victim's scores on ``[B, 3, H, W]``, with their gradient."""
        ...

    def drawing(self, draws: int) -> Self:
        """The same contest with so many fresh looks of a randomised victim in each step."""
        ...


def contest(objective: Objective, who: str) -> Contest:
    """The objective as one over classes.

    Raises:
        InvalidInput: it is another; the attack ``who`` needs scores to choose its loss.
    """
    if not isinstance(objective, Contest):
        raise InvalidInput(
            f"{who} needs the scores of classes, and {type(objective).__name__} has none; "
            'attack a classification, goal = "untargeted", or take pgd'
        )
    return objective


def fooled(scores: Tensor, losing: Tensor) -> Tensor:
    """Whether every draw answers a class that is not ``losing``, ``[B]`` bool.

    Args:
        scores: ``[B, N, K]`` or ``[B, N, K + 1]``.
        losing: ``[B, L]``.

    A tie with a losing class counts for the defender.
    """
    wins = margin(scores, losing) > 0
    return wins.all(1)


def margin(scores: Tensor, losing: Tensor) -> Tensor:
    """Lead of the best other class over the best losing one, ``[B, N]``; above 0 it is fooled."""
    at = losing[:, None, :].expand(-1, scores.shape[1], -1)
    held = scores.gather(2, at).amax(2)
    others = scores.scatter(2, at, float("-inf")).amax(2)
    return others - held


def judged(loss: Tensor, view: View, losing: Tensor) -> Judged:
    """A loss ``[B, N]`` over the draws as a judgement: their mean, and whether all are fooled."""
    return Judged(loss.mean(1), fooled(view.scores.detach(), losing))
