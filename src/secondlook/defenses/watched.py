"""A captioner with a detector: what it says is given out only where nothing is suspicious."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from secondlook.data.base import Source
from secondlook.defenses.calibration import clean_scores, conformal_threshold, samples_needed
from secondlook.defenses.detector import Detector
from secondlook.errors import InvalidInput
from secondlook.models.base import Model, evaluating
from secondlook.models.captioner import Captioner
from secondlook.models.engine import exactly
from secondlook.randomness import Keys


class Answered(NamedTuple):
    """What became of some images.

    Attributes:
        captions: what the captioner says, one for each.
        suspicion: ``[B]``, higher is more likely attacked.
        accepted: ``[B]`` bool, whether the caption is given out.
    """

    captions: list[str]
    suspicion: Tensor
    accepted: Tensor


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A captioner and its detector.

    Attributes:
        captioner: who speaks.
        detector: who watches.
        threshold: the largest suspicion whose caption is given out; :meth:`calibrated` sets it.
        said: how captions are written, as the keywords of ``Captioner.caption``.

    Example:
        ``Watched(captioner=load("scenes:captioner"), detector=mirror()).calibrated(source, 0.05)``
    """

    captioner: Captioner
    detector: Detector
    threshold: float = float("inf")
    said: dict[str, Any] = field(default_factory=lambda: {"length": 40})

    @property
    def parts(self) -> tuple[Model, ...]:
        """All models inside."""
        return (self.captioner, *self.detector.parts)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """All networks inside."""
        return tuple(module for part in self.parts for module in part.modules)

    def calibrated(self, source: Source, rate: float, samples: int = 1000) -> Watched:
        """The same, with a threshold that clean images exceed with probability ``rate`` at most.

        Args:
            source: clean images that nothing else is measured on.
            rate: false rejection, 0.05 for 5 %.
            samples: how many of its images; 0 takes all.

        Raises:
            InvalidInput: they are fewer than ``rate`` needs; how many it needs is said.
        """
        held, enough = min(samples or len(source), len(source)), samples_needed(rate)
        if held < enough:
            raise InvalidInput(
                f"a false rejection of {rate:g} needs {enough} clean images or more, not {held}"
            )
        return self.at(self.clean(source, samples), rate)

    def at(self, scores: Tensor, rate: float) -> Watched:
        """The same at the threshold for a false rejection ``rate``, by suspicions of clean images.

        Raises:
            InvalidInput: they are fewer than ``rate`` needs.
        """
        return replace(self, threshold=conformal_threshold(scores, rate))

    def clean(self, source: Source, samples: int = 1000) -> Tensor:
        """Suspicion of clean images, ``[n]``: what thresholds of any rate come from."""
        with torch.no_grad(), evaluating(self.modules), exactly(self.parts):
            return clean_scores(source, self.suspicion, self.captioner.size, samples)

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] | None = None) -> Tensor:
        """``[B]``; ``captions`` are what the captioner has said, where somebody has asked it.

        It is differentiable in ``x`` through the detector, the captions being what they are.

        Raises:
            InvalidInput: not as many captions as images.
        """
        if captions is None and self.detector.listens:
            captions = self.captioner.caption(x.detach(), keys.fold("caption"), **self.said)
        return self.detector.suspicion(x, keys.fold("detect"), captions or ())

    def decide(self, x: Tensor, keys: Keys) -> Answered:
        """Captions ``[B, 3, H, W]`` in [0, 1], and says which of them are given out.

        A caption that is empty is not, where the detector listens: it cannot be looked into.

        Raises:
            InvalidInput: no pixels in [0, 1], or not one key per sample.
        """
        if len(keys) != len(x):
            raise InvalidInput(f"{len(keys)} keys for {len(x)} samples; one key per sample")
        with torch.no_grad(), evaluating(self.modules), exactly(self.parts):
            captions = self.captioner.caption(x, keys.fold("caption"), **self.said)
            suspicion = self.suspicion(x, keys, captions)
        spoken = torch.tensor([bool(text.strip()) for text in captions], device=suspicion.device)
        given = (suspicion <= self.threshold) & (spoken | (not self.detector.listens))
        return Answered(captions, suspicion, given)


class Curtain:
    """A watched captioner as those see it who ask: silent where a caption is held back.

    Args:
        guard: the watched captioner.
    """

    def __init__(self, guard: Watched) -> None:
        self.guard, self.name = guard, guard.captioner.name
        self.modules = guard.captioner.modules

    def caption(self, x: Tensor, keys: Keys, **said: Any) -> list[str]:
        """A text for each image ``[B, 3, H, W]``, empty where it is not given out."""
        found = replace(self.guard, said=said).decide(x, keys)
        return [
            text if given else ""
            for text, given in zip(found.captions, found.accepted.tolist(), strict=True)
        ]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All that an attacker learns who is only told whether a caption is given out.

    Attributes:
        guard: the watched captioner.
    """

    guard: Watched

    @torch.no_grad()
    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """1 where the captioner's own caption is held back and 0 where it is not, ``[B]``."""
        return (~self.guard.decide(x, keys).accepted).to(x)
