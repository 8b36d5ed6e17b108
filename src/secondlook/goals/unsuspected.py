"""The adaptive attacker of a detector: reach the goal, and be no more suspicious than clean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from secondlook.attacks.base import Judged
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys


class Wish(Protocol):
    """An objective of its own, such as :class:`~secondlook.goals.caption.Say`."""

    @property
    def modules(self) -> Sequence[nn.Module]: ...

    def __call__(self, x: Tensor, keys: Keys) -> Judged: ...

    def take(self, rows: Tensor) -> Self: ...


class Watcher(Protocol):
    """What can be suspicious: a detector, though a goal need not know that."""

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ..., /) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Unsuspected:
    """A wish, and a hinge on the suspicion that its own success would raise.

    What the attacked captioner will say is known to the attacker, who wants it said: a detector
    that paints captions paints that one, and its painting is made once and is not differentiated
    (``min L(x + d) + weight * max(0, suspicion(x + d, target) - threshold + margin)``). Looks of a
    randomised detector are drawn afresh in each step, and their mean is climbed (EOT).

    Attributes:
        wish: what is wanted beside.
        watcher: the detector.
        captions: what will be said of each image if the attack succeeds; empty where any other
            will do, and the watcher has to hear for itself what is said now.
        threshold: the largest suspicion that is accepted.
        weight: of the hinge; 0 is an attacker who does not know of the detector.
        margin: how far below the threshold the hinge ends.
        draws: fresh looks of a randomised detector in each step.
        after: the loss that the wish must have come to before the hinge counts. Where a watcher
            hears for itself it hears the truth first, which is no more suspicious than clean, and
            a hinge from the start holds the image there; minus infinity is from the start.
        watching: the detector's networks.

    Raises:
        InvalidInput: a negative weight or margin, or no look at all.
    """

    wish: Wish
    watcher: Watcher
    captions: tuple[str, ...]
    threshold: float
    weight: float = 1.0
    margin: float = 0.0
    draws: int = 1
    after: float = float("-inf")
    watching: tuple[nn.Module, ...] = ()

    def __post_init__(self) -> None:
        if self.weight < 0 or self.margin < 0 or self.draws < 1:
            raise InvalidInput(
                f"weight={self.weight:g}, margin={self.margin:g} must be 0 or more, and "
                f"draws={self.draws} 1 or more"
            )

    @property
    def parts(self) -> Sequence[Unsuspected]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the victim and of its detector."""
        return [*self.wish.modules, *self.watching]

    def __call__(self, x: Tensor, keys: Keys) -> Judged:
        """The wish's loss less the hinge; reached where no look of those drawn is suspicious."""
        judged = self.wish(x, keys.fold("wish"))
        suspicion = self.suspicion(x, keys)
        hinge = (suspicion - self.threshold + self.margin).clamp_min(0).mean(1)
        hinge = hinge * (judged.loss.detach() >= self.after)
        reached = judged.reached & (suspicion <= self.threshold).all(1)
        return Judged(judged.loss - self.weight * hinge, reached)

    def suspicion(self, x: Tensor, keys: Keys) -> Tensor:
        """``[B, draws]``, of the images with the captions that are hoped for."""
        children, wide = keys.fold("watch").repeat(self.draws), x.repeat_interleave(self.draws, 0)
        if self.captions:
            many = [caption for caption in self.captions for _ in range(self.draws)]
            found = self.watcher.suspicion(wide, children, many)
        else:
            found = self.watcher.suspicion(wide, children)
        return found.view(len(x), self.draws)

    def take(self, rows: Tensor) -> Unsuspected:
        """The same objective for some of the samples."""
        captions = tuple(self.captions[row] for row in rows.tolist()) if self.captions else ()
        return replace(self, wish=self.wish.take(rows), captions=captions)


def worst(reached: Sequence[Tensor], loss: Sequence[Tensor]) -> Tensor:
    """Of several attacks on each image the one that counts, ``[B]``.

    A success is worth more than any failure; among equals the higher loss counts.

    Args:
        reached: whether each attack reached its goal, ``[B]`` each.
        loss: what each came to, ``[B]`` each; the same loss for all.
    """
    losses = torch.stack(list(loss))
    spread = (losses.amax() - losses.amin()).clamp_min(1)
    return (torch.stack(list(reached)).to(losses) * 2 * spread + losses).argmax(0)
