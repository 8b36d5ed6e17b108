"""Objectives against tiny victims, and what an attack on one gives, for all attacks' tests."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from secondlook.attacks.base import Attack
from secondlook.decision import Surrogate
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded
from secondlook.models.base import Classifier, Purifier
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.threat import Norm, Threat
from tests.analytic import LinearClassifier, directions, halving_eps, images, worst_lead


def against(model: Classifier, truth: Tensor) -> UntargetedObjective:
    """The objective against an undefended model that should answer ``truth``."""
    return UntargetedObjective(goal=Untargeted(truth=truth), victim=Guarded(model))


def held(model: Classifier, clean: Tensor) -> UntargetedObjective:
    """The objective against a model that is right on ``clean``."""
    return against(model, model(clean).argmax(1))


@dataclass(frozen=True)
class Line:
    """A linear victim whose images are all right, and the ball in which half are robust."""

    objective: UntargetedObjective
    clean: Tensor
    keys: Keys
    threat: Threat
    robust: Tensor


def line(classes: int, norm: Norm, count: int) -> Line:
    """The linear victim of so many classes, on ``count`` images."""
    weights, clean = directions(classes), images(count, 96, 160)
    model = LinearClassifier(weights)
    truth = model(clean).argmax(1)
    threat = halving_eps(weights, clean, truth, norm)
    robust = worst_lead(weights, clean, truth, threat) < 0
    return Line(against(model, truth), clean, Keys.of(0, range(count)), threat, robust)


@dataclass(frozen=True, kw_only=True)
class Hesitant:
    """A linear model of two classes that rejects where they are less than ``least`` apart."""

    model: LinearClassifier
    least: float
    weight: float = 1.0
    modules: tuple[nn.Module, ...] = ()
    rejects, stochastic = True, False

    @property
    def classes(self) -> tuple[str, ...]:
        return self.model.classes

    def surrogate(self, x: Tensor, keys: Keys, draws: int = 1, gradient: str = "full") -> Surrogate:
        features = self.model.features(x)[:, None]
        scores = self.model.scores(features)
        apart = (scores[..., 1] - scores[..., 0]).abs()
        acceptance = self.weight * (apart - self.least)
        return Surrogate(features=features, scores=scores, acceptance=acceptance)


def veiled(clean: Tensor, purifier: Purifier, draws: int) -> UntargetedObjective:
    """The objective against a linear model of four classes behind a purifier."""
    model = LinearClassifier(directions(4))
    victim = Guarded(model, Consensus(purifier=purifier))
    return replace(held(model, clean), victim=victim, draws=draws)


def everything(attack: Attack, objective: UntargetedObjective, clean: Tensor, threat: Threat, keys: Keys) -> Tensor:
    """What comes out, and the trace, in one row for each sample."""
    found = attack(objective, clean, threat, keys)
    columns = [getattr(found.trace, name)[:, None] for name in vars(found.trace)]
    return torch.cat([found.x.flatten(1), *columns], 1)
