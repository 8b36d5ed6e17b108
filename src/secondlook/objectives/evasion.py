"""Evading a detector: reach the goal, and be no more suspicious than clean."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from secondlook.attacks.base import Evaluation, Objective
from secondlook.errors import InvalidInput
from secondlook.models.captioner import Captioner
from secondlook.randomness import Keys


class Suspicious(Protocol):
    """What can be suspicious: a detector, or a guarded model that asks for its own captions."""

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ..., /) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class DetectorEvasion:
    """An objective, and a hinge on the suspicion that its own success would raise.

    What the attacked captioner will say is known to the attacker, who wants it said: a detector
    that paints captions paints that one, and its painting is made once and is not differentiated
    (``min L(x + d) + weight * max(0, suspicion(x + d, target) - threshold + margin)``). Looks of a
    randomized detector are drawn afresh in each step, and their mean counts (EOT).

    Attributes:
        goal: what is wanted beside.
        detector: the detector.
        captions: what will be said of each image if the attack succeeds; empty where any other
            will do, and the detector has to ask for captions itself.
        threshold: the largest suspicion that is accepted.
        weight: of the hinge; 0 is an attacker who does not know of the detector.
        margin: how far below the threshold the hinge ends.
        draws: fresh draws of a randomized detector in each step.
        after: the loss that the objective must have come to before the hinge counts. Where the
            detector asks for captions itself it reads the truth first, which is no more suspicious
            than clean, and a hinge from the start holds the image there; minus infinity is from
            the start.
        networks: the detector's networks.

    Raises:
        InvalidInput: a negative weight or margin, or no draw at all.
    """

    goal: Objective
    detector: Suspicious
    captions: tuple[str, ...]
    threshold: float
    weight: float = 1.0
    margin: float = 0.0
    draws: int = 1
    after: float = float("-inf")
    networks: tuple[nn.Module, ...] = ()

    def __post_init__(self) -> None:
        if self.weight < 0 or self.margin < 0 or self.draws < 1:
            raise InvalidInput(
                f"weight={self.weight:g}, margin={self.margin:g} must be 0 or more, and draws={self.draws} 1 or more"
            )

    @property
    def parts(self) -> Sequence[DetectorEvasion]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the victim and of its detector."""
        return [*self.goal.modules, *self.networks]

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """The objective's loss less the hinge; a success where no draw is suspicious."""
        # A model that stays on the CPU answers there, wherever its detector is.
        evaluation = Evaluation(*(part.to(x.device) for part in self.goal(x, keys.fold("wish"))))
        suspicion = self.suspicion(x, keys).to(x.device)
        hinge = (suspicion - self.threshold + self.margin).clamp_min(0).mean(1)
        hinge = hinge * (evaluation.loss.detach() >= self.after)
        success = evaluation.success & (suspicion <= self.threshold).all(1)
        return Evaluation(evaluation.loss - self.weight * hinge, success)

    def suspicion(self, x: Tensor, keys: Keys) -> Tensor:
        """``[B, draws]``, of the images with the captions that are hoped for."""
        children, wide = keys.fold("watch").repeat(self.draws), x.repeat_interleave(self.draws, 0)
        if self.captions:
            many = [caption for caption in self.captions for _ in range(self.draws)]
            found = self.detector.suspicion(wide, children, many)
        else:
            found = self.detector.suspicion(wide, children)
        return found.view(len(x), self.draws)

    def take(self, rows: Tensor) -> DetectorEvasion:
        """The same objective for some of the samples."""
        captions = tuple(self.captions[row] for row in rows.tolist()) if self.captions else ()
        return replace(self, goal=self.goal.take(rows), captions=captions)


@dataclass(frozen=True, kw_only=True)
class CaptionFeedback:
    """A detector that an attacker keeps up to date with what the victim really says.

    A detector that paints captions paints the one that is said. Two sentences that mean the same
    are painted differently, so that it does not do to look like a painting of the wanted one.

    Attributes:
        detector: what is evaded.
        captioner: the victim.
        fulfills: whether the first of two texts is as good to the attacker as the second.
        caption: how captions are written, as the keywords of ``Captioner.caption``.
    """

    detector: Suspicious
    captioner: Captioner
    fulfills: Callable[[str, str], bool]
    caption: dict[str, Any] = field(default_factory=dict)

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """``[B]``, with what is said of ``x`` where that fulfills the goal, else ``captions``."""
        said = self.captioner.caption(x.detach(), keys.fold("caption"), **self.caption)
        wanted = [text if self.fulfills(text, hope) else hope for text, hope in zip(said, captions, strict=True)]
        return self.detector.suspicion(x, keys, wanted)


@dataclass(frozen=True, kw_only=True)
class OwnCaptions:
    """A detector that reads what the victim says now, whatever that is.

    Attributes:
        detector: what is evaded.
        captioner: the victim.
        caption: how captions are written, as the keywords of ``Captioner.caption``.
    """

    detector: Suspicious
    captioner: Captioner
    caption: dict[str, Any] = field(default_factory=dict)

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """``[B]``, with what is said of ``x``."""
        said = self.captioner.caption(x.detach(), keys.fold("caption"), **self.caption)
        return self.detector.suspicion(x, keys.fold("detect"), said)


def worst(success: Sequence[Tensor], loss: Sequence[Tensor]) -> Tensor:
    """Of several attacks on each image the one that counts, ``[B]``.

    A success is worth more than any failure; among equals the higher loss counts.

    Args:
        success: whether each attack reached its goal, ``[B]`` each.
        loss: what each came to, ``[B]`` each; the same loss for all.
    """
    losses = torch.stack(list(loss))
    spread = (losses.amax() - losses.amin()).clamp_min(1)
    return (torch.stack(list(success)).to(losses) * 2 * spread + losses).argmax(0)
