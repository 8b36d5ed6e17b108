"""After FPT-Noise: which images get noise, and how much."""

from __future__ import annotations

import pytest
import torch

from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.fpt_noise import FPTNoise, MeasuredNoise
from secondlook.errors import InvalidInput
from tests.closeness import same
from tests.defenses.test_time.scenes import KEYS, X, clip, fooled, gradients, passes, worked_on

SMALL = FPTNoise(crops=1)
NONE, ALL = FPTNoise(stable_below=1e-6), FPTNoise(stable_below=9.0)


def test_what_feels_the_noise_is_answered_for_as_it_is() -> None:
    bare = clip()(X)
    assert same(Guarded(clip(), NONE).decide(X, KEYS).scores, bare)
    every = Guarded(clip(), ALL).decide(X, KEYS).scores
    assert not torch.allclose(every, bare, atol=1e-3)
    work = Guarded(clip(), SMALL).adaptation
    assert isinstance(work, MeasuredNoise)
    noise = 2 * KEYS.repeat(1).fold("adapt").fold("noise").uniform(X.shape[1:]) - 1
    middle = float(work.rate(X, noise).median())
    stopped, moved = worked_on(Guarded(clip(), FPTNoise(stable_below=middle)))
    assert stopped == moved and 0 < sum(moved) < len(X)


def test_the_noise_is_the_stronger_the_less_a_little_is_felt() -> None:
    work = Guarded(clip(), FPTNoise(stable_below=0.2)).adaptation
    assert isinstance(work, MeasuredNoise)
    gray, noise = torch.full((3, 3, 2, 2), 0.5), torch.ones(3, 3, 2, 2)
    strength = (work.with_noise(gray, noise, torch.tensor([0.0, 0.1, 0.2]), "full") - gray).amax((1, 2, 3)) * 255
    assert strength.tolist() == pytest.approx([16, 10, 4], abs=1e-3)


def test_it_runs_under_attack_and_feels_no_neighbor() -> None:
    assert passes(SMALL) == (2 * 1 + 5, 0)
    assert float(coupling(Guarded(clip(), SMALL), X[:3], KEYS[:3], kept=1).max()) < COUPLED
    full, past = gradients(SMALL)
    assert float((full - past).norm() / past.norm()) > 1e-3
    assert fooled(SMALL) >= 1


def test_strengths_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(InvalidInput, match="weakest=0.5 is above strongest"):
        FPTNoise(weakest=0.5)
