"""An embedder behind a defense: what it sees, and what an attacker of it climbs."""

import pytest
import torch

from secondlook.attacks.base import input_gradient
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded, GuardedEmbedder
from secondlook.defenses.jpeg import Jpeg
from secondlook.models.purifiers.jpeg import JpegPurifier
from secondlook.objectives.base import ThroughViews
from secondlook.objectives.caption import UntargetedCaption
from secondlook.randomness import Keys
from tests import tiny
from tests.audit import dials, shades
from tests.models.test_captioner import Colors, color

KEYS = Keys.of(0, range(6))
TEXT = ["red 1 green 2 blue 3"]


def images() -> torch.Tensor:
    return dials.Colors(6).read(range(6), None).images


def test_nothing_in_front_is_the_embedder_itself() -> None:
    model = dials.dial()
    guarded = Guarded(model)
    assert guarded.embedder() is model
    assert torch.allclose(guarded.decide(images(), KEYS).scores, model.embed(images()), atol=1e-6)


def test_a_jpeg_in_front_and_a_gradient_past_it() -> None:
    model = dials.dial()
    guarded = Guarded(model, Jpeg(quality=30))
    shown = JpegPurifier(30).purify(images(), KEYS)
    assert torch.allclose(guarded.decide(images(), KEYS).scores, model.embed(shown), atol=1e-6)
    x = images().requires_grad_()
    seen = guarded.embedder()
    assert isinstance(seen, GuardedEmbedder) and seen.hash == model.hash
    (gradient,) = torch.autograd.grad(seen.embed(x).sum(), x)
    assert gradient.abs().amax() > 0
    # Captions are not transformed.
    assert torch.equal(seen.embed_text(TEXT), model.embed_text(TEXT))


def test_an_attackers_draws_do_not_depend_on_the_batch() -> None:
    guarded = Guarded(dials.dial(), Consensus(purifier=tiny.shift(), samples=7))
    seen = guarded.embedder(draws=3)
    assert isinstance(seen, GuardedEmbedder)
    first, second = seen.embed(images()), seen.embed(images())
    assert not torch.allclose(first, second, atol=1e-4)
    rows = []
    for row in range(6):
        seen.begin()
        rows.append(seen.embed(images()[row : row + 1]))
    assert torch.allclose(torch.cat(rows), first, atol=1e-6)


@pytest.mark.parametrize(
    ("purifier", "gradient", "signs"),
    [(shades.roll, "full", [1, 1, -1]), (shades.roll, "bpda", [-1, 1, 1]), (shades.stiff, "full", [-1, 1, 1])],
)
def test_the_gradient_comes_through_the_transform_or_straight_past_it(
    purifier: object, gradient: object, signs: list[int]
) -> None:
    """The untargeted loss of red falls with red; behind the roll with the channel that is red."""
    model = Colors()
    guarded = Guarded(model, Consensus(purifier=purifier(), samples=1))  # type: ignore[operator]
    goal = UntargetedCaption(captioner=model, texts=(("red again",),))
    through = ThroughViews(objective=goal, victim=guarded, gradient=gradient)  # type: ignore[arg-type]
    slope, _ = input_gradient(through, color(0.6, 0.3, 0.1), KEYS[:1])
    assert slope[0, :, 0, 0].sign().tolist() == signs


def test_a_sample_is_judged_through_views_as_among_others() -> None:
    x = torch.cat([color(0.6, 0.3, 0.1), color(0.2, 0.2, 0.6), color(0.3, 0.5, 0.2)])
    texts = (("red again",), ("blue again",), ("green again",))
    guarded = Guarded(Colors(), Consensus(purifier=tiny.shift(), samples=1))
    goal = UntargetedCaption(captioner=Colors(), texts=texts)
    through = ThroughViews(objective=goal, victim=guarded, draws=2)
    whole, rows = through(x, KEYS[:3]).loss, torch.tensor([2, 0])
    assert torch.allclose(through.take(rows)(x[rows], KEYS[rows]).loss, whole[rows])


def test_what_is_shown_has_no_gradient_and_as_many_views_as_the_defense_takes() -> None:
    guarded = Guarded(Colors(), Consensus(purifier=tiny.shift(), samples=4))
    x = color(0.6, 0.3, 0.1, 3)
    shown = guarded.shown(x.clone().requires_grad_(), KEYS[:3])
    assert len(shown) == 12 and not shown.requires_grad and guarded.draws == 4
    assert torch.equal(shown, guarded.views(x, KEYS[:3], 4))
