"""CLIPure-Cos turns as published, and its published gradient is no gradient."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.attacks.apgd import APGD
from secondlook.attacks.base import differentiate, input_gradient
from secondlook.attacks.synthesis import Synthesis
from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.clipure_cos import ClipureCos, TowardsBlank
from secondlook.errors import InvalidInput, UnknownName
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import LinearClassifier, directions
from tests.defenses.test_time.scenes import KEYS, X, clip
from tests.tiny import eye

PUBLISHED = ClipureCos(legacy_detached=True, legacy_batch_norm=True, legacy_half=True)


def turned(vectors: Tensor, settings: ClipureCos) -> Tensor:
    """The angle to the blank prompt ``(1, 0, 0)`` after all steps, in degrees, above 0 where it starts."""
    made = TowardsBlank(eye(), torch.tensor([1.0, 0.0, 0.0]).to(vectors), settings)
    found = made.purified(vectors, Keys.of(0, range(len(vectors)))).detach()
    return torch.rad2deg(torch.atan2(found[:, 1], found[:, 0]))


@pytest.mark.parametrize(
    ("steps", "step", "angle"),
    [(1, 30.0, -9.628), (2, 30.0, 78.463), (10, 30.0, 78.463), (10, 0.1, 21.357), (10, 1.0, -11.537)],
)
def test_the_steps_turn_in_the_plane_as_computed_by_hand(steps: int, step: float, angle: float) -> None:
    start = torch.tensor([[0.2, math.sqrt(1 - 0.2**2), 0.0]]).double()
    assert float(turned(start, ClipureCos(steps=steps, step=step))) == pytest.approx(angle, abs=2e-3)


def sphere(count: int, cosine: float = 0.2, width: int = 768) -> tuple[Tensor, Tensor]:
    """Vectors of that cosine to a blank prompt, and the prompt."""
    drawn = F.normalize(Keys.of(0, range(count + 1)).normal((width,)).double(), dim=1)
    blank, rest = drawn[0], drawn[1:] - (drawn[1:] @ drawn[0])[:, None] * drawn[0]
    return cosine * blank + math.sqrt(1 - cosine**2) * F.normalize(rest, dim=1), blank


@pytest.mark.parametrize("detached", [False, True])
def test_ten_steps_of_thirty_are_the_identity_whatever_the_gradient_says(detached: bool) -> None:
    vectors, blank = sphere(8)
    made = TowardsBlank(eye(), blank, ClipureCos(legacy_detached=detached))
    at, towards = vectors.clone().requires_grad_(), F.normalize(vectors.roll(1, 1), dim=1)
    out = made.purified(at, Keys.of(0, range(8)))
    assert torch.allclose(out, vectors, atol=1e-6)
    sideways = towards - (towards * vectors).sum(1, keepdim=True) * vectors
    told = (differentiate((out * sideways).sum(1), at) * sideways).sum(1) / sideways.square().sum(1)
    moved = made.purified(F.normalize(vectors + 1e-4 * sideways, dim=1), Keys.of(0, range(8))).detach()
    change = ((moved - out.detach()) * sideways).sum(1) / 1e-4 / sideways.square().sum(1)
    assert torch.allclose(change, torch.ones(8).double(), atol=1e-2)
    assert torch.allclose(told, change, atol=1e-2) is not detached
    assert not detached or float(told.abs().max()) < 1e-13


def test_nine_steps_are_another_thing() -> None:
    vectors, blank = sphere(4)
    nine = TowardsBlank(eye(), blank, ClipureCos(steps=9)).purified(vectors, Keys.of(0, range(4)))
    assert torch.allclose((nine * vectors).sum(1), torch.full((4,), 0.0333).double(), atol=1e-3)


def test_neighbors_are_felt_in_the_published_form_alone() -> None:
    vectors, blank = sphere(8)
    vectors = torch.cat([vectors[:4], sphere(8, 0.3)[0][4:]])
    for legacy in (False, True):
        made = TowardsBlank(eye(), blank, ClipureCos(steps=9, legacy_batch_norm=legacy))
        both = made.purified(vectors, Keys.of(0, range(8)))[0]
        alone = made.purified(vectors[:1], Keys.of(0, range(1)))[0]
        assert torch.allclose(both, alone, atol=1e-6) is not legacy
    assert float(coupling(Guarded(clip(), ClipureCos()), X[:4], KEYS[:4], kept=2).max()) < COUPLED
    assert (
        float(coupling(Guarded(clip(), ClipureCos(legacy_batch_norm=True)), X[:4], KEYS[:4], kept=2).min())
        > 10 * COUPLED
    )


def objective(settings: ClipureCos) -> UntargetedObjective:
    victim = Guarded(clip(), settings)
    return UntargetedObjective(goal=Untargeted(truth=victim.decide(X, KEYS).answer), victim=victim)


def test_the_published_gradient_is_a_trillionth_and_in_16_bits_nothing() -> None:
    for settings, least, most in (
        (ClipureCos(), 0.9, 1.1),
        (ClipureCos(legacy_detached=True), 1e-16, 1e-14),
        (PUBLISHED, 0.0, 0.0),
    ):
        through = objective(settings)
        own, bare = (
            input_gradient(each, X, KEYS)[0].flatten(1).norm(dim=1)
            for each in (through, replace(through, victim=through.victim.undefended))
        )
        ratio = own / bare
        assert least <= float(ratio.min()) and float(ratio.max()) <= most, settings


def test_synthesis_takes_the_published_form_by_what_fools_the_bare_model() -> None:
    """An attack through the defense stands at its random start; the bare model's adversarials pass.

    Each image by itself: what the published form makes of one depends on who else is left to attack.
    """
    through, threat = objective(replace(PUBLISHED, legacy_batch_norm=False)), Threat(eps=8 / 255)
    as_is = APGD(steps=6, loss="ce")(through, X, threat, KEYS).x
    found = Synthesis(steps=6)(through, X, threat, KEYS)
    left = [int((~through(x, KEYS).success).sum()) for x in (as_is, found.x)]
    assert left[1] <= left[0] - 3, left
    assert found.by is not None
    names = [found.members[by] for by in found.by.tolist() if by >= 0]
    assert all(name.startswith("bare") for name in names) and names


def test_the_mean_over_the_iterates_shows_the_published_form_a_gradient() -> None:
    """What ten steps hide one step does not, by a factor of its length."""
    through, threat = objective(replace(PUBLISHED, legacy_batch_norm=False)), Threat(eps=8 / 255)
    assert [each.defense.steps for each in through.victim.iterates] == [1, 4, 7, 10]
    mean = through.manners(True, KEYS)["iterates"]
    bare = input_gradient(replace(through, victim=through.victim.undefended), X, KEYS)[0].flatten(1).norm(dim=1)
    ratio = input_gradient(mean, X, KEYS)[0].flatten(1).norm(dim=1) / bare
    assert bool((ratio > 1e-3).all()), ratio
    as_is, iterates = (
        int((~through(APGD(steps=4, loss="ce")(each, X, threat, KEYS).x, KEYS).success).sum())
        for each in (through, mean)
    )
    assert iterates <= as_is - 3, (as_is, iterates)


def test_models_without_vectors_and_unknown_templates_are_refused() -> None:
    with pytest.raises(InvalidInput, match="clipure-cos works with the vectors of an embedder"):
        Guarded(LinearClassifier(directions(3)), ClipureCos())
    with pytest.raises(UnknownName, match="imagenet-80"):
        ClipureCos(templates="imagenet-8")
