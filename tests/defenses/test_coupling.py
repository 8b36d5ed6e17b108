"""Batch coupling is found whatever it goes by, and what merely draws anew is none."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.defenses.base import Defense
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, directions, images

X, KEYS = images(6), Keys.of(0, range(6))


@dataclass(frozen=True, kw_only=True)
class Centered(Defense):
    """Takes the mean of the batch away, in part."""

    share: float = 0.1

    def transform(self, x: Tensor, keys: Keys) -> Tensor:
        return (x - self.share * (x.mean(0, keepdim=True) - 0.5)).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class Forgetful(Defense):
    """Draws otherwise each time that it is asked, and from no key."""

    rule = "mean"
    stochastic = True
    seen: tuple[int, ...] = ()

    def transform(self, x: Tensor, keys: Keys) -> Tensor:
        asked = len(self.seen)
        object.__setattr__(self, "seen", (*self.seen, asked))
        return (x + 0.01 * Keys.of(asked, [0] * len(x)).normal(x.shape[1:])).clamp(0, 1)


def moved(defense: Defense, kept: int = 4) -> Tensor:
    return coupling(Guarded(LinearClassifier(directions(3)), defense), X, KEYS, kept)


def test_a_mean_over_the_batch_is_found_in_every_sample() -> None:
    assert bool((moved(Centered()) > COUPLED).all())
    assert bool((moved(Centered(share=0.0)) == 0).all())


def test_keyed_draws_are_no_coupling() -> None:
    votes = Consensus(purifier=NoisePurifier(0.1), rule="mean")
    assert float(moved(votes).max()) == 0
    assert moved(votes, kept=2).shape == (2,) and moved(votes, kept=9).shape == (6,)


def test_what_is_asked_again_is_taken_off() -> None:
    again = moved(Forgetful())
    guarded = Guarded(LinearClassifier(directions(3)), Forgetful())
    first, second = (guarded.decide(X, KEYS).scores for _ in range(2))
    apart = (first - second).norm(dim=1) / first.norm(dim=1)
    assert not torch.equal(first, second)
    assert bool((again.abs() < 3 * apart.max()).all())
