"""JPEG and Gaussian noise as defences: the codec once, and a vote over fresh noise."""

import pytest
import torch

from secondlook import registry
from secondlook.defenses.baselines import Jpeg, NoiseVote
from secondlook.errors import InvalidInput, UnknownName
from secondlook.models.jpeg import compress
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, directions, images

KEYS = Keys.of(0, range(6))
MODEL = LinearClassifier(directions(3))


@pytest.mark.parametrize("quality", [75, 20])
def test_jpeg_looks_once_at_the_compressed_image(quality: int) -> None:
    seen = Jpeg(model=MODEL, quality=quality).decide(images(6), KEYS)
    compressed = compress(images(6), quality)
    assert not torch.equal(compressed, images(6))
    assert torch.equal(seen.features, compressed.flatten(1))
    assert seen.answer.tolist() == MODEL(compressed).argmax(1).tolist()
    assert seen.draws.tolist() == [1] * 6
    assert bool(seen.accepted.all())


def test_jpeg_passes_gradients_straight_on() -> None:
    x = images(6).requires_grad_()
    defence = Jpeg(model=MODEL)
    assert not defence.stochastic
    seen = defence.glimpse(x, KEYS, draws=4)
    (gradient,) = torch.autograd.grad(seen.scores[:, 0, 2].sum(), x)
    assert torch.allclose(seen.features[:, 0], compress(images(6), 75).flatten(1), atol=1e-6)
    assert torch.allclose(gradient, MODEL.weights[2].expand(6, -1, -1, -1))


@pytest.mark.parametrize("sigma", [0.05, 0.2])
def test_noise_votes_over_copies_with_that_much_noise(sigma: float) -> None:
    keys, clean = Keys.of(0, range(50)), images(50, low=127, high=129)
    defence = NoiseVote(model=MODEL, sigma=sigma, samples=9, early_stop=False)
    assert defence.stochastic
    seen = defence.decide(clean, keys)
    assert seen.draws.tolist() == [9] * 50
    assert seen.votes.sum(1).tolist() == [9] * 50
    each = defence.glimpse(clean, keys, draws=9).features - clean.flatten(1)[:, None]
    assert float(each.std()) == pytest.approx(sigma, rel=0.05)
    assert torch.allclose(seen.features, each.mean(1) + clean.flatten(1), atol=1e-5)


def test_what_a_user_may_set() -> None:
    built = registry.build("defence", "jpeg", {"quality": "30"}, model=MODEL)
    assert registry.describe(built) == {"name": "jpeg", "quality": 30}
    assert registry.describe(registry.build("defence", "noise", {}, model=MODEL)) == {
        "name": "noise", "sigma": 0.1, "samples": 10, "rule": "plurality", "early_stop": True,
    }  # fmt: skip
    with pytest.raises(UnknownName, match="unknown field of defence 'jpeg': 'samples'"):
        registry.build("defence", "jpeg", {"samples": 3}, model=MODEL)


def test_knobs_out_of_range() -> None:
    with pytest.raises(InvalidInput, match="quality=96 is outside 1 to 95"):
        Jpeg(model=MODEL, quality=96)
    with pytest.raises(InvalidInput, match="sigma=25.5 is outside"):
        NoiseVote(model=MODEL, sigma=25.5)
    with pytest.raises(InvalidInput, match="samples=0 leaves nobody to vote"):
        NoiseVote(model=MODEL, samples=0)
