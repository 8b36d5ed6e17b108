"""Objectives on captions: that what is true is no longer said, or that a sentence is said."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from secondlook.attacks.base import Evaluation
from secondlook.errors import InvalidInput
from secondlook.models.captioner import Captioner
from secondlook.randomness import Keys


@dataclass(frozen=True, kw_only=True)
class CaptionObjective(ABC):
    """An objective about texts of each image, seen through a captioner (teacher forcing).

    Attributes:
        captioner: who is to be fooled.
        texts: of each image, as many for each.
        prompt: what the captioner is asked; empty takes its own.

    Raises:
        InvalidInput: an image has no text, or more of them than another.
    """

    captioner: Captioner
    texts: tuple[tuple[str, ...], ...]
    prompt: str = ""

    def __post_init__(self) -> None:
        if len({len(several) for several in self.texts}) > 1 or () in self.texts:
            raise InvalidInput("each image needs texts, as many as every other; leave some out")

    @abstractmethod
    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Loss and success of a batch, ``[B]`` each; nothing is random here."""

    @property
    def parts(self) -> Sequence[Self]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the captioner."""
        return self.captioner.modules

    def take(self, rows: Tensor) -> Self:
        """The same objective for some of the samples."""
        return replace(self, texts=tuple(self.texts[row] for row in rows.tolist()))


@dataclass(frozen=True, kw_only=True)
class UntargetedCaption(CaptionObjective):
    """Untargeted: the true captions become unlikely (Schlarmann and Hein 2023, arXiv 2308.10741).

    Its loss is the captioner's own training loss, the mean over the captions of an image. What it
    would say instead, the true captions do not say, so that no sample leaves early.
    """

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Loss ``[B]``: minus the mean log-probability of a token."""
        loss = -self.captioner.score_texts(x, self.texts, self.prompt).likelihood.mean(1)
        return Evaluation(loss, torch.zeros_like(loss, dtype=torch.bool))


@dataclass(frozen=True, kw_only=True)
class TargetedCaption(CaptionObjective):
    """Targeted: the attacker's sentence becomes likely, the likeliest of them where several are.

    It is reached where the captioner, writing greedily, says one of them word for word.
    """

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Loss ``[B]``: the mean log-probability of a token of the likeliest sentence."""
        weighed = self.captioner.score_texts(x, self.texts, self.prompt)
        return Evaluation(weighed.likelihood.amax(1), weighed.greedy.any(1))


@dataclass(frozen=True, kw_only=True)
class GreedyCaption:
    """One sentence for each image becomes what is written greedily, and no more than that.

    The loss ends, and the goal is reached, where every token leads all others by
    :data:`~secondlook.models.captioner.LEAD`, which survives the rounding of pixels: the rest of the
    budget is free for what else is wanted, that a detector is not suspicious, say.
    An image without a sentence has no gradient, and is never a success.

    Attributes:
        captioner: who is to be fooled.
        texts: a sentence for each image; empty where there is none.
        prompt: what the captioner is asked; empty takes its own.
    """

    captioner: Captioner
    texts: tuple[str, ...]
    prompt: str = ""

    @property
    def parts(self) -> Sequence[GreedyCaption]:
        """The objective itself, alone."""
        return (self,)

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The networks of the captioner."""
        return self.captioner.modules

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        """Loss ``[B]``: minus what a token lacks to lead, in nats; nothing is random here."""
        loss = 0 * x.flatten(1).sum(1)
        success = torch.zeros_like(loss, dtype=torch.bool)
        rows = [row for row, text in enumerate(self.texts) if text]
        if rows:
            at = torch.tensor(rows, device=x.device)
            seen = x if len(rows) == len(x) else x[at]
            weighed = self.captioner.score_texts(seen, [(self.texts[row],) for row in rows], self.prompt)
            loss = loss.index_add(0, at, -weighed.shortfall[:, 0].to(loss))
            success[at] = (weighed.shortfall[:, 0] == 0).to(success.device)
        return Evaluation(loss, success)

    def take(self, rows: Tensor) -> GreedyCaption:
        """The same objective for some of the samples."""
        return replace(self, texts=tuple(self.texts[row] for row in rows.tolist()))
