"""Multi-Shield: a classifier and zero-shot models must agree, else the input is rejected."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor

from secondlook.data.base import Source
from secondlook.decision import Decision, Glimpse
from secondlook.defenses.agreement import QUORUMS, Quorum, appended, gaps, overall
from secondlook.defenses.base import Defence, Gradient, single
from secondlook.defenses.calibration import clean_scores, conformal_threshold, held_out
from secondlook.defenses.opinions import Opinion, opinions
from secondlook.errors import InvalidInput, UnknownName
from secondlook.models.base import Model, evaluating
from secondlook.randomness import Keys
from secondlook.registry import register

TIE = 1e-3
"""The least threshold that an attacker climbs. At a calibrated one of 0 agreement itself would be a
tie with the rejection, and a tie counts for the defender: no success could be seen."""


class Seen(NamedTuple):
    """What all models make of a batch.

    Attributes:
        features: ``[B, D]`` of the classifier.
        scores: ``[B, K]`` of the classifier.
        opinions: ``[B, M, K]`` of the others.
        gap: ``[B]``, how far the others prefer another class.
    """

    features: Tensor
    scores: Tensor
    opinions: Tensor
    gap: Tensor


@register("defence", "multishield")
@dataclass(frozen=True, kw_only=True)
class MultiShield(Defence):
    """A classifier that abstains where zero-shot models prefer another class (arXiv 2412.10353).

    The gap of an opinion is its highest score less its score of the classifier's answer, 0 where
    they agree. The paper rejects where the gap exceeds ``tolerance`` (section 3). With
    ``false_rejection`` = alpha the threshold is calibrated on all of some held-out clean images
    instead, right or wrong (split conformal): a clean input that is exchangeable with them is
    rejected with probability ``<= alpha``, and ``> alpha - 1 / (n + 1)`` if no two of n gaps are
    equal. Agreement gives many gaps of exactly 0, so that the rate is lower where both models
    disagree on fewer clean images than alpha.

    Attributes:
        opinions: who else is asked: ``scenes:clip``, several names with commas between, or
            embedders and classifiers; none of them the defended model.
        prompt: for embedders: a template, or a set of templates, ``imagenet-80``; empty takes
            that of the defended model if it is zero-shot itself, else the embedder's own.
        labels: what the others call a class, where it is not what the classifier calls it.
        tolerance: the largest gap that is accepted, in units of the opinions' scores.
        rule: of several opinions, whether ``any`` gap, ``all`` gaps or their ``mean`` must exceed.
        false_rejection: the share of clean inputs that may be rejected; 0 leaves ``tolerance``.
        calibrate_on: clean data for that, by name; never the data that is evaluated.
        calibrate_samples: how many of its images; 0 takes all.

    Raises:
        InvalidInput: a setting out of range, too few samples for ``false_rejection``, an opinion
            of the defended model on itself, or classes that do not match.
        UnknownName: an unknown rule, model, set of templates or class.
    """

    opinions: Any = "scenes:clip"
    prompt: str = ""
    labels: dict[str, str] | None = None
    tolerance: float = 0.001
    rule: Quorum = "any"
    false_rejection: float = 0.0
    calibrate_on: str = "scenes:calibration"
    calibrate_samples: int = 1000

    def __post_init__(self) -> None:
        if not self.tolerance >= 0:
            raise InvalidInput(f"tolerance={self.tolerance:g} rejects agreement; write 0 or more")
        if self.rule not in QUORUMS:
            raise UnknownName("rule", self.rule, QUORUMS)
        found = opinions(self.opinions, self.model, self.prompt, self.labels or {})
        object.__setattr__(self, "_others", found)
        source = (
            held_out(self.calibrate_on, self.calibrate_samples, self.false_rejection)
            if self.false_rejection
            else None
        )
        object.__setattr__(self, "_held_out", source)

    @property
    def others(self) -> tuple[Opinion, ...]:
        """The opinions themselves, M of them."""
        found: tuple[Opinion, ...] = self.__dict__["_others"]
        return found

    @property
    def parts(self) -> tuple[Model, ...]:
        """The classifier and the others."""
        return (self.model, *(other.model for other in self.others))

    @property
    def calibration(self) -> Source | None:
        """The clean data of ``calibrate_on``; None where ``tolerance`` decides."""
        source: Source | None = self.__dict__["_held_out"]
        return source

    @cached_property
    def threshold(self) -> float:
        """The largest gap that is accepted; calibrated when it is first asked for."""
        if self.calibration is None:
            return self.tolerance
        with torch.no_grad(), evaluating(self.modules):
            scores = clean_scores(
                self.calibration, lambda x, _: self._ask(x.to(self.model.place or x.device)).gap,
                self.model.size, self.calibrate_samples,
            )  # fmt: skip
        return conformal_threshold(scores, self.false_rejection)

    def prepare(self) -> None:
        """Calibrates."""
        _ = self.threshold

    def judge(self, x: Tensor, keys: Keys) -> Decision:
        """The classifier's answer; suspicion is the gap."""
        seen = self._ask(x)
        # The paper adds the gap to the largest logit, and what that absorbs it accepts; a
        # calibrated threshold compares the gaps themselves, as its guarantee has it.
        if self.calibration is None:
            columns = appended(seen.scores, seen.gap, self.tolerance)
            rejected = columns.argmax(1) == seen.scores.shape[1]
        else:
            rejected = ~(seen.gap <= self.threshold)
        decision = single(seen.scores, seen.features)
        return replace(decision, accepted=~rejected, suspicion=seen.gap)

    def glimpse(
        self, x: Tensor, keys: Keys, draws: int = 1, gradient: Gradient = "full"
    ) -> Glimpse:
        """One look of all models, with the gradient through each; more would see the same."""
        seen = self._ask(x)
        return Glimpse(
            features=seen.features[:, None], scores=seen.scores[:, None],
            acceptance=(max(self.threshold, TIE) - seen.gap)[:, None],
            opinions=seen.opinions[:, None],
        )  # fmt: skip

    def _ask(self, x: Tensor) -> Seen:
        features = self.model.features(x)
        scores = self.model.scores(features)
        views = torch.stack([other(x) for other in self.others], 1)
        return Seen(features, scores, views, overall(gaps(views, scores.argmax(1)), self.rule))
