"""A-TPT: where its map is hot, what its views are mixed of, and what it shares with R-TPT."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.atpt import ATPT, AttendedViews, hottest
from secondlook.defenses.test_time.rtpt import RTPT
from secondlook.errors import InvalidInput
from secondlook.models.base import Embedder
from secondlook.models.zeroshot import ZeroShot
from tests.closeness import same
from tests.defenses.test_time.scenes import KEYS, X, clip, fooled, gradients, passes
from tests.tiny import eye

SMALL = ATPT(crops=5, neighbors=2, share=0.4)
PLAIN = RTPT(crops=5, neighbors=2, share=0.4)


def attending(settings: ATPT = SMALL, name: str = "scenes:clip") -> AttendedViews:
    found = Guarded(clip(name), settings).adaptation
    assert isinstance(found, AttendedViews)
    return found


def test_a_fifth_of_the_pixels_is_attended_to_and_no_more_than_has_evidence() -> None:
    ramp = torch.arange(100.0).view(1, 10, 10)
    found = hottest(torch.cat([ramp, (ramp - 95).relu(), torch.zeros_like(ramp)]), 0.2)
    assert found.flatten(1).sum(1).tolist() == [20, 4, 0]
    assert bool(found[0].flatten()[80:].all())
    assert bool(hottest(ramp, 1.0).all()) and not bool(hottest(ramp, 0.0).any())


@pytest.mark.parametrize("name", ["scenes:clip", "scenes:clip-vit"])
def test_the_map_tells_objects_from_the_ground(name: str) -> None:
    """What is attended to is cut out: the answer hangs on it more than on as many pixels elsewhere."""
    adapted, model = attending(name=name), clip(name)
    seen = adapted.attended(X)
    assert seen.shape == X[:, 0].shape and 0.05 < float(seen.float().mean()) <= 0.2

    def kept(mask: Tensor) -> Tensor:
        gray = torch.where(mask[:, None], 0.5, X)
        return model(gray).gather(1, model(X).argmax(1)[:, None])[:, 0]

    shifted = seen.roll((32, 32), (1, 2)) & ~seen
    assert int((kept(seen) < kept(shifted)).sum()) >= 6


def test_views_are_mixed_eight_to_two_where_it_looks_and_two_to_eight_elsewhere() -> None:
    adapted, plain = attending(), Guarded(clip(), PLAIN).adaptation
    found = adapted.views(X[:3], KEYS[:3])
    crops, seen = plain.views(X[:3], KEYS[:3]), adapted.attended(X[:3])  # type: ignore[union-attr]
    for image, view, y, x in ((0, 3, 20, 30), (1, 5, 40, 11), (2, 1, 5, 5)):
        own = 0.8 if bool(seen[image, y, x]) else 0.2
        wanted = own * X[image, :, y, x] + (1 - own) * crops[image, view, :, y, x]
        assert torch.allclose(found[image, view, :, y, x], wanted, atol=1e-6)
    assert torch.allclose(found[:, 0], X[:3], atol=1e-6)


def test_without_mixing_it_is_rtpt_and_with_the_image_alone_all_views_are_it() -> None:
    none = ATPT(crops=5, neighbors=2, share=0.4, inside=0, outside=0)
    ours, plain = (Guarded(clip(), settings).decide(X[:3], KEYS[:3]).scores for settings in (none, PLAIN))
    assert same(ours, plain)
    whole = ATPT(crops=5, neighbors=2, share=0.4, inside=1, outside=1, rate=0)
    assert torch.allclose(Guarded(clip(), whole).decide(X, KEYS).scores, clip()(X), atol=1e-4)


def test_each_image_begins_anew_and_feels_no_neighbor() -> None:
    victim = Guarded(clip(), SMALL)
    first = victim.decide(X[2:3], KEYS[2:3]).scores
    victim.decide(X, KEYS)
    assert same(victim.decide(X[2:3], KEYS[2:3]).scores, first)
    assert same(victim.decide(X, KEYS).scores[2:3], first)
    assert float(coupling(victim, X[:3], KEYS[:3], kept=1).max()) < COUPLED


def test_it_runs_under_attack_and_its_weights_have_a_gradient() -> None:
    full, past = gradients(SMALL)
    assert float((full - past).norm() / past.norm()) > 1e-3
    assert fooled(SMALL, count=2) >= 1
    # Six views, two for the map, and a pair of images of noise for the two that are asked about.
    assert passes(SMALL) == (9, 0)


class Flat(Embedder):
    """An image tower that sees colors alone, and the text tower of another."""

    name, prompt = "tiny:flat", "a picture of a {}"

    def __init__(self, texts: Embedder) -> None:
        self.texts, self.modules = texts, texts.modules

    def encode_image(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)).repeat(1, 86)[:, :256]

    def encode_text(self, texts: list[str]) -> Tensor:  # type: ignore[override]
        return self.texts.encode_text(texts)


def test_towers_without_places_and_models_without_classes_are_refused() -> None:
    flat = ZeroShot(Flat(clip().embedder), ("red circle", "blue star"), "a picture of a {}")
    with pytest.raises(InvalidInput, match="tiny:flat has no spatial features to weigh"):
        Guarded(flat, ATPT())
    with pytest.raises(InvalidInput, match="atpt works with the vectors of classes"):
        Guarded(eye(), ATPT())
    with pytest.raises(InvalidInput, match="inside=1.5"):
        ATPT(inside=1.5)
