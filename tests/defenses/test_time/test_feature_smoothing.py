"""Feature smoothing is a mean embedding, and its certificate is never above the truth."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.defenses.guarded import Guarded
from secondlook.defenses.noise import NoiseVote
from secondlook.defenses.test_time.feature_smoothing import FeatureSmoothing, certified, l2_of_linf, smoothed_cosine
from secondlook.errors import InvalidInput
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from tests.analytic import LinearClassifier, directions, images
from tests.closeness import same
from tests.defenses.test_time.scenes import KEYS, X, clip
from tests.tiny import Compass, eye


class Halves(Compass):
    """One of two directions, by the side of a plane that an image lies on; the margin is known."""

    def encode_image(self, x: Tensor) -> Tensor:
        side = (margin(x) > 0).float()[:, None]
        return side * torch.tensor([[1.0, 0.0, 0.0]]) + (1 - side) * torch.tensor([[-1.0, 0.0, 0.0]])


NORMAL = F.normalize(directions(1).flatten(), dim=0)


def margin(x: Tensor) -> Tensor:
    """The signed L2 distance to the plane."""
    return ((x - 0.5).flatten(1) * NORMAL).sum(1)


def test_the_bound_is_as_computed_by_hand_and_is_nothing_far_away() -> None:
    cosine = torch.tensor(0.9).double()
    assert float(smoothed_cosine(cosine, 0.5)) == pytest.approx(0.7477, abs=1e-4)
    assert float(smoothed_cosine(cosine, 1.0)) == pytest.approx(0.4810, abs=1e-4)
    assert float(smoothed_cosine(cosine, 1.645)) == pytest.approx(0.0, abs=1e-3)
    assert float(smoothed_cosine(cosine, 0.0)) == pytest.approx(0.9)
    assert l2_of_linf(1 / 255, 224, 224) == pytest.approx(1.52, abs=5e-3)


def test_the_bound_is_reached_by_a_half_space() -> None:
    """Its mean behind noise is a normal distribution's, in closed form, here and there."""
    here, far = torch.tensor(1.2).double(), 0.7
    mean = 2 * torch.special.ndtr(here) - 1
    assert torch.allclose(smoothed_cosine(mean, far), 2 * torch.special.ndtr(here - far) - 1)


def test_the_answer_is_the_mean_vector_of_noisy_copies() -> None:
    guarded = Guarded(clip(), FeatureSmoothing(sigma=0.05, samples=4))
    noisy = [(X + 0.05 * KEYS.repeat(1, draw).normal(X.shape[1:])).clamp(0, 1) for draw in range(4)]
    wanted = torch.stack([clip().features(copy) for copy in noisy]).mean(0)
    found = guarded.decide(X, KEYS)
    assert same(found.features, wanted) and same(found.scores, wanted @ clip().texts.T)
    vectors = Guarded(clip().embedder, guarded.defense).decide(X, KEYS).scores
    assert same(vectors, F.normalize(wanted, dim=1))
    assert guarded.stochastic


def test_no_certificate_is_above_the_true_distance() -> None:
    x, keys = images(12, 110, 146), Keys.of(0, range(12))
    model = ZeroShot(Halves("tiny:halves"), ("red", "cyan"))
    found = certified(Guarded(model, FeatureSmoothing(sigma=0.1)), x, keys, samples=800)
    assert torch.equal(found.answer[found.radius > 0], (margin(x) < 0).long()[found.radius > 0])
    assert bool((found.radius <= margin(x).abs() + 1e-6).all())
    away = margin(x).abs() > 0.05
    assert bool((found.radius[away] > 0.3 * margin(x).abs()[away].clamp_max(0.15)).all()) and bool(away.any())


def test_more_draws_certify_more_and_more_confidence_less() -> None:
    guarded = Guarded(ZeroShot(eye(), ("red", "cyan", "blue")), FeatureSmoothing(sigma=0.02))
    x, keys = images(5), Keys.of(0, range(5))
    few, many = (certified(guarded, x, keys, samples=count).radius for count in (60, 800))
    assert bool((many >= few - 1e-3).all()) and bool((many > few + 1e-3).any())
    surer = certified(guarded, x, keys, samples=800, confidence=0.999999).radius
    assert bool((surer <= many).all()) and bool((surer < many).any())


def test_what_has_no_certificate_says_so() -> None:
    with pytest.raises(InvalidInput, match="feature-smoothing works with the vectors of an embedder"):
        Guarded(LinearClassifier(directions(3)), FeatureSmoothing())
    with pytest.raises(InvalidInput, match="NoiseVote has no certificate"):
        certified(Guarded(clip(), NoiseVote()), X, KEYS)
    with pytest.raises(InvalidInput, match="a certificate works with the vectors of classes"):
        certified(Guarded(eye(), FeatureSmoothing()), X, KEYS)
    with pytest.raises(InvalidInput, match="samples=1, confidence=0.9"):
        certified(Guarded(clip(), FeatureSmoothing()), X, KEYS, samples=1, confidence=0.9)
