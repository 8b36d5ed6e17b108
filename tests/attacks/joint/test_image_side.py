"""The image side of the joint attacks: views, objectives, starts and closed-form optima."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from secondlook.attacks.joint.base import ImagePGD
from secondlook.attacks.joint.objectives import (
    AwayFromReferences,
    Reference,
    Views,
    first_vectors,
    mean_vectors,
    rescaled,
    resized_and_padded,
)
from secondlook.attacks.joint.pair_pgd import PairPGD
from secondlook.attacks.pairs import Pairs
from secondlook.attacks.text.substitution import divergence
from secondlook.errors import InvalidInput
from secondlook.threat import Threat
from tests.closeness import same
from tests.pairs import Bag, keys, pairs

THREAT = Threat(eps=8 / 255)


def colored(*captions: str) -> Pairs:
    return Pairs(pairs(1).images, (captions,))


def test_against_one_color_the_optimum_is_known() -> None:
    # The cosine to an axis is lowest with that channel down and both others up.
    victim, given = Bag(), colored("blue blue blue blue blue")
    victim.network.words.weight[3] *= 1e3
    found = PairPGD(steps=5)(victim, given, THREAT, keys(1)).images
    sign = torch.tensor([1.0, 1.0, -1.0]).view(1, 3, 1, 1)
    assert torch.allclose(found, given.images + THREAT.eps * sign, atol=1e-6)


def test_all_captions_count_and_not_one() -> None:
    victim = Bag()
    sides = [
        PairPGD()(victim, colored(*c), THREAT, keys(1)).images for c in (("red", "blue"), ("blue", "red"), ("red",))
    ]
    assert torch.equal(sides[0], sides[1])
    assert not torch.equal(sides[0], sides[2])


def test_surrogates_are_climbed_together() -> None:
    given, twins = colored("red"), [Bag(), Bag("bag:two", turn=1)]
    both = PairPGD()(twins, given, THREAT, keys(1)).images

    def closeness(images: torch.Tensor) -> float:
        return sum(float((v.embed(images) * v.embed_text(["red"])).sum()) for v in twins)

    for victim in twins:
        alone = PairPGD()(victim, given, THREAT, keys(1)).images
        assert closeness(both) <= closeness(alone) + 1e-5


def test_away_from_itself_does_not_read_captions() -> None:
    victim = Bag()
    found = PairPGD(guide="image")(victim, colored("red"), THREAT, keys(1)).images
    assert not victim.read or victim.read == ["red"]
    clean = victim.embed(pairs(1).images)
    far = divergence(clean, victim.embed(found))
    drawn = pairs(1).images + THREAT.eps * (2 * keys(1).uniform((3, 4, 4)) - 1)
    assert far > 10 * divergence(clean, victim.embed(drawn))


@pytest.mark.parametrize(
    "config", [{"steps": 0}, {"start": "far"}, {"scales": (0.0,)}, {"diversity": 1.5}, {"guide": "text"}]
)
def test_settings_that_mean_nothing_are_told(config: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        PairPGD(**config)  # type: ignore[arg-type]


def test_starts_are_where_they_are_said_to_be() -> None:
    clean = pairs(3).images
    above = ImagePGD(begin="above").start(clean, THREAT, keys()) - clean
    assert float(above.min()) >= 0
    assert float(above.max()) > 0.9 * THREAT.eps
    ball = ImagePGD().start(clean, THREAT, keys()) - clean
    assert float(ball.min()) < -0.9 * THREAT.eps
    assert torch.equal(ImagePGD(begin="clean").start(clean, THREAT, keys()), clean)
    warm = clean + 1 / 255
    assert torch.equal(ImagePGD(begin="above", warm=warm).start(clean, THREAT, keys()), warm)


def test_steps_are_as_published() -> None:
    assert ImagePGD(steps=10).automatic_step(Threat(eps=2 / 255), torch.zeros(1, 3, 2, 2)) == pytest.approx(0.5 / 255)
    slow = ImagePGD(steps=10, pace=1.25)
    assert slow.automatic_step(Threat(eps=2 / 255), torch.zeros(1, 3, 2, 2)) == pytest.approx(0.25 / 255)


def test_objective_adds_up_views_terms_and_embedders() -> None:
    x, twins = pairs(3).images, [Bag(), Bag("bag:two", turn=1)]
    away, past, paired = (F.normalize(keys().fold(n).normal((3,)), dim=1) for n in "abc")
    references = tuple(Reference(v, captions=away, image=past, caption=paired) for v in twins)
    views = Views(scales=(0.5, 1.5))
    found = AwayFromReferences(references=references, views=views, alpha=3.0)(x, keys())
    expected = torch.zeros(3)
    for victim in twins:
        for view in views(x, keys()).split(3):
            v = victim.embed(view)
            expected += -(v * away).sum(1) + divergence(past, v) + 3 * divergence(paired, v)
    assert torch.allclose(found.loss, expected, atol=1e-6)
    assert not found.success.any()
    rows = torch.tensor([2, 0])
    part = AwayFromReferences(references=references, views=views, alpha=3.0).take(rows)(x[rows], keys()[rows])
    assert torch.allclose(part.loss, expected[rows], atol=1e-6)


def test_means_and_firsts_of_uneven_captions() -> None:
    vectors, owner = torch.arange(8.0).view(4, 2), torch.tensor([0, 1, 1, 2])
    (mean,), (first,) = mean_vectors([vectors], owner, 3), first_vectors([vectors], owner, 3)
    assert mean.tolist() == [[0, 1], [3, 4], [6, 7]]
    assert first.tolist() == [[0, 1], [2, 3], [6, 7]]


def test_views_are_of_each_image_and_keyed() -> None:
    x, views = pairs(3).images, Views(scales=(0.5, 2.0), diversity=0.5)
    found = views(x, keys())
    assert found.shape == (9, 3, 4, 4)
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    for row in range(3):
        own = views(x[row : row + 1], keys()[row : row + 1])
        assert same(own, found[row::3])
    assert torch.equal(Views()(x, keys()), x)
    noiseless = replace(views, noise=0.0, diversity=0.0)(x, keys())
    assert torch.equal(noiseless[:3], x)
    assert torch.equal(noiseless[3:6], rescaled(x, 0.5))


def test_scales_are_bicubic_there_and_back() -> None:
    x = keys(2).uniform((3, 16, 12))
    for scale, size in ((0.5, (8, 6)), (0.75, (12, 9)), (1.25, (20, 15)), (1.5, (24, 18))):
        there = F.interpolate(x, size, mode="bicubic").clamp(0, 1)
        back = F.interpolate(there, (16, 12), mode="bicubic").clamp(0, 1)
        assert torch.allclose(rescaled(x, scale), back, atol=1e-6)
    assert torch.allclose(rescaled(torch.full((1, 3, 16, 16), 0.3), 1.5), torch.tensor(0.3))


def test_a_moved_image_is_smaller_and_whole() -> None:
    x = torch.full((200, 3, 20, 20), 0.5)
    found = resized_and_padded(x, keys(200), 0.5)
    still = (found == x).flatten(1).all(1)
    assert 70 < int(still.sum()) < 130
    lit = (found[~still] > 0.25).float().flatten(1).mean(1)
    assert float(lit.min()) > 0.75
    assert float(lit.mean()) < 0.97
    assert torch.equal(resized_and_padded(x, keys(200), 0.0), x)
