"""A classifier that abstains where a detector is suspicious, at a calibrated threshold."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from secondlook.data.base import Source
from secondlook.decision import Decision, Glimpse
from secondlook.defenses.base import Defence, Gradient, single
from secondlook.defenses.calibration import clean_scores, conformal_threshold, held_out
from secondlook.defenses.detector import Detector
from secondlook.models.base import Model, evaluating
from secondlook.randomness import Keys


@dataclass(frozen=True, kw_only=True)
class Suspecting(Defence):
    """The bare model's answer, rejected where a detector's suspicion is above a threshold.

    With ``false_rejection`` = alpha the threshold comes from held-out clean images (split
    conformal): a clean input that is exchangeable with them is rejected with probability
    ``<= alpha``. No attacked input is looked at for it.

    Attributes:
        false_rejection: the share of clean inputs that may be rejected; 0 leaves ``most``.
        most: the largest suspicion that is accepted where nothing is calibrated.
        calibrate_on: clean data, by name; never the data that is evaluated.
        calibrate_samples: how many of its images; 0 takes all.

    Raises:
        InvalidInput: too few clean images for ``false_rejection``, or a setting out of range.
    """

    false_rejection: float = 0.05
    most: float = 1.0
    calibrate_on: str = "scenes:calibration"
    calibrate_samples: int = 1000

    def __post_init__(self) -> None:
        rate = self.false_rejection
        source = held_out(self.calibrate_on, self.calibrate_samples, rate) if rate else None
        object.__setattr__(self, "_source", source)
        object.__setattr__(self, "_detector", self.made())

    @abstractmethod
    def made(self) -> Detector:
        """The detector of these settings; made once."""

    @property
    def detector(self) -> Detector:
        """The detector itself."""
        detector: Detector = self.__dict__["_detector"]
        return detector

    @property
    def parts(self) -> tuple[Model, ...]:
        """The model and all that the detector looks with; a model in both is there once."""
        every = (self.model, *self.detector.parts)
        return tuple({id(part): part for part in every}.values())

    @property
    def stochastic(self) -> bool:
        """Whether the detector is."""
        return self.detector.stochastic

    @property
    def calibration(self) -> Source | None:
        """The clean data of ``calibrate_on``; None where ``most`` decides."""
        source: Source | None = self.__dict__["_source"]
        return source

    @cached_property
    def threshold(self) -> float:
        """The largest suspicion that is accepted; calibrated when it is first asked for."""
        if self.calibration is None:
            return self.most
        return conformal_threshold(self.clean, self.false_rejection)

    @cached_property
    def clean(self) -> Tensor:
        """Suspicions of the clean images that are calibrated on, ``[n]``; of none, ``[0]``."""
        if self.calibration is None:
            return torch.zeros(0)
        with torch.no_grad(), evaluating(self.modules):
            return clean_scores(
                self.calibration,
                lambda x, keys: self.judge_of(x.to(self.model.place or x.device), keys),
                self.model.size, self.calibrate_samples,
            )  # fmt: skip

    def prepare(self) -> None:
        """Calibrates."""
        _ = self.threshold

    def told(self, answers: Tensor) -> Sequence[str]:
        """The answers ``[B]`` as captions, for a detector that listens."""
        return ()

    def judge_of(self, x: Tensor, keys: Keys) -> Tensor:
        """Suspicion ``[B]`` of inputs with the model's own answers."""
        answers = self.model(x).argmax(1) if self.detector.listens else torch.zeros(len(x))
        return self.detector.suspicion(x, keys, self.told(answers))

    def judge(self, x: Tensor, keys: Keys) -> Decision:
        """The model's answer, and whether it may be given."""
        features = self.model.features(x)
        decision = single(self.model.scores(features), features)
        suspicion = self.detector.suspicion(x, keys, self.told(decision.answer))
        accepted = suspicion <= self.threshold
        return replace(decision, accepted=accepted, suspicion=suspicion)

    def glimpse(
        self, x: Tensor, keys: Keys, draws: int = 1, gradient: Gradient = "full"
    ) -> Glimpse:
        """One look of the model, ``draws`` of the detector, with the gradient through both."""
        features = self.model.features(x)
        scores = self.model.scores(features)
        draws = draws if self.stochastic else 1
        answers = scores.argmax(1).repeat_interleave(draws)
        suspicion = self.detector.suspicion(
            x.repeat_interleave(draws, 0), keys.repeat(draws), self.told(answers)
        )
        return Glimpse(
            features=features[:, None].expand(-1, draws, *features.shape[1:]),
            scores=scores[:, None].expand(-1, draws, -1),
            acceptance=(self.threshold - suspicion).view(len(x), draws),
        )
