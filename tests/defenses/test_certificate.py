"""Certificates of votes over Gaussian noise, held against the closed form of a linear classifier."""

from __future__ import annotations

import pytest
import torch
from torch.special import ndtr

from secondlook.defenses.certificate import ABSTAINED, certifies, certify, least_share
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.jpeg import Jpeg
from secondlook.defenses.noise import NoiseVote
from secondlook.defenses.stack import Stack
from secondlook.defenses.test_time.feature_smoothing import FeatureSmoothing
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.logits import LogitClassifier
from secondlook.models.purifiers.filters import Blur
from secondlook.randomness import Keys
from tests.closeness import same

SIGMA, SIDE = 0.05, 8


def brightness() -> LogitClassifier:
    """Bright or dark, by the mean of the pixels: two half spaces."""

    def logits(x: torch.Tensor) -> torch.Tensor:
        lead = x.mean((1, 2, 3)) - 0.5
        return torch.stack([lead, -lead], 1)

    return LogitClassifier("brightness", logits, ["bright", "dark"])


def shades(leads: list[float]) -> torch.Tensor:
    """Uniform images so far, in L2, on the bright side of the boundary."""
    pixels = 3 * SIDE * SIDE
    return torch.stack([torch.full((3, SIDE, SIDE), 0.5 + lead / pixels**0.5) for lead in leads])


LEADS = [0.15, 0.08, -0.1, 0.002]
X, KEYS = shades(LEADS), Keys.of(0, range(4))


def test_radii_are_below_the_closed_form_and_near_it() -> None:
    """Of a half space the smoothed radius is the distance, whatever the noise (Cohen et al. 2019)."""
    found = certify(Guarded(brightness(), NoiseVote(sigma=SIGMA)), X, KEYS, samples=4000)
    assert found.answer.tolist() == [0, 0, 1, ABSTAINED]
    assert found.radius[3] == 0
    for radius, lead in zip(found.radius.tolist()[:3], LEADS, strict=False):
        assert radius <= abs(lead) + 1e-6
        assert radius >= 0.85 * abs(lead)


def test_nothing_within_a_radius_changes_the_smoothed_answer() -> None:
    guarded = Guarded(brightness(), NoiseVote(sigma=SIGMA))
    found = certify(guarded, X, KEYS, samples=400)
    against = X - torch.where(torch.tensor(LEADS) > 0, 1, -1)[:, None, None, None] * (
        found.radius[:, None, None, None] / (3 * SIDE * SIDE) ** 0.5
    )
    again = certify(guarded, against, KEYS.fold("again"), samples=400)
    assert all(now in (ABSTAINED, then) for now, then in zip(again.answer.tolist(), found.answer.tolist(), strict=True))


def test_what_follows_the_noise_is_a_part_of_the_classifier() -> None:
    blurred = Stack(stack=[NoiseVote(sigma=SIGMA), Consensus(purifier=Blur(), samples=1)])
    assert blurred.smoothing == SIGMA
    assert Stack(stack=[Jpeg(), NoiseVote(sigma=SIGMA)]).smoothing == 0, "a codec in front of the noise moves the input"
    found = certify(Guarded(brightness(), blurred), X, KEYS, samples=300)
    assert found.answer.tolist()[:3] == [0, 0, 1]
    assert bool((found.radius[:3] <= torch.tensor(LEADS[:3]).abs() + 0.01).all())


def test_a_certificate_does_not_depend_on_who_is_beside_an_image() -> None:
    guarded = Guarded(brightness(), NoiseVote(sigma=SIGMA))
    together = certify(guarded, X, KEYS, samples=100)
    for row in range(4):
        alone = certify(guarded, X[row : row + 1], KEYS[row : row + 1], samples=100)
        assert alone.answer.tolist() == together.answer[row : row + 1].tolist()
        assert same(alone.radius, together.radius[row : row + 1])


def test_the_lower_end_is_the_probability_at_which_so_many_agree_hardly_ever() -> None:
    (low,) = least_share([100], 100, 0.999)
    assert low**100 == pytest.approx(0.001)
    assert least_share([0], 50, 0.99) == [0.0]
    share = float(ndtr(torch.tensor(1.0)))
    hits = [int(each) for each in torch.binomial(torch.full((400,), 200.0), torch.tensor(share))]
    assert sum(low > share for low in least_share(hits, 200, 0.95)) / 400 < 0.09


def test_feature_smoothing_brings_its_own() -> None:
    model = load("scenes:clip")
    assert not certifies(Guarded(model, FeatureSmoothing())), "an embedder names no classes"
    assert not certifies(Guarded(brightness(), Jpeg()))
    assert certifies(Guarded(brightness(), NoiseVote()))


@pytest.mark.parametrize(
    ("defense", "samples", "confidence", "said"),
    [
        (Jpeg(), 100, 0.99, "jpeg in front of brightness has no certificate; take a classifier behind noise"),
        (NoiseVote(), 1, 0.99, "samples=1, confidence=0.99: write 2 or more"),
        (NoiseVote(), 100, 1.0, "and a confidence below 1"),
        (NoiseVote(), 5, 0.999, "5 draws that all agree certify nothing at a confidence of 0.999; take more"),
    ],
)
def test_what_certifies_nothing_is_refused(defense: NoiseVote, samples: int, confidence: float, said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        certify(Guarded(brightness(), defense), X, KEYS, samples, confidence)
