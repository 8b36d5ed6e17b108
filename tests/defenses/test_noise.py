"""Gaussian noise as a defense: a vote over fresh noise."""

import pytest
import torch

from secondlook import registry
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.noise import NoiseVote
from secondlook.errors import InvalidInput
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, directions, images

MODEL = LinearClassifier(directions(3))


@pytest.mark.parametrize("sigma", [0.05, 0.2])
def test_it_votes_over_copies_with_that_much_noise(sigma: float) -> None:
    keys, clean = Keys.of(0, range(50)), images(50, low=127, high=129)
    guarded = Guarded(MODEL, NoiseVote(sigma=sigma, samples=9, early_stop=False))
    assert guarded.stochastic
    seen = guarded.decide(clean, keys)
    assert seen.draws.tolist() == [9] * 50
    assert seen.votes.sum(1).tolist() == [9] * 50
    each = guarded.surrogate(clean, keys, draws=9).features - clean.flatten(1)[:, None]
    assert float(each.std()) == pytest.approx(sigma, rel=0.05)
    assert torch.allclose(seen.features, each.mean(1) + clean.flatten(1), atol=1e-5)


def test_what_a_user_may_set() -> None:
    assert registry.describe(registry.build("defense", "noise", {})) == {
        "name": "noise",
        "sigma": 0.1,
        "samples": 10,
        "rule": "plurality",
        "early_stop": True,
        "stop_error": 0.0,
    }
    with pytest.raises(InvalidInput, match="sigma=25.5 is outside"):
        NoiseVote(sigma=25.5)
    with pytest.raises(InvalidInput, match="samples=0; write 1 or more"):
        NoiseVote(samples=0)
