"""Evading a detector: the hinge in closed form, its draws, what is really said, and the worst."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from secondlook.attacks.base import Evaluation, input_gradient
from secondlook.attacks.pgd import PGD
from secondlook.defenses.guarded import Guarded
from secondlook.errors import InvalidInput
from secondlook.objectives.caption import UntargetedCaption
from secondlook.objectives.evasion import CaptionFeedback, DetectorEvasion, OwnCaptions, worst
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import Slope, directions, images
from tests.defenses.mirror_models import colors_behind
from tests.models.test_captioner import Colors, color

KEYS = Keys.of(0, range(6))
COLORS = Colors()
CAPTIONS = tuple(str(row) for row in range(6))


@dataclass(frozen=True)
class Level:
    """As suspicious as the image is bright, and a little of its own draw."""

    noise: float = 0.0

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        assert len(captions) == len(x)
        numbers = torch.tensor([float(caption) for caption in captions])
        return x.flatten(1).mean(1) + 0 * numbers + self.noise * keys.normal((1,))[:, 0]


class Sure(Slope):
    """A slope that is reached."""

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        evaluation = super().__call__(x, keys)
        return Evaluation(evaluation.loss, torch.ones_like(evaluation.success))


def goal(**settings: object) -> DetectorEvasion:
    plain = {"goal": Sure(weights=directions(6)), "detector": Level(), "captions": CAPTIONS, "threshold": 0.5}
    return DetectorEvasion(**{**plain, **settings})  # type: ignore[arg-type]


def test_the_loss_is_the_goal_s_less_the_hinge() -> None:
    x = images(6, seed=3)
    bright = x.flatten(1).mean(1)
    found = goal(weight=3.0, margin=0.02, threshold=0.5)(x, KEYS)
    hinge = (bright - 0.5 + 0.02).clamp_min(0)
    assert 0 < int((hinge > 0).sum()) < 6
    assert torch.allclose(found.loss, goal().goal(x, KEYS).loss - 3 * hinge)
    assert torch.equal(found.success, bright <= 0.5)


def test_without_a_weight_the_gradient_is_that_of_the_goal() -> None:
    x = images(6)
    blind, _ = input_gradient(goal(weight=0.0), x, KEYS)
    assert torch.allclose(blind, directions(6))
    knowing, _ = input_gradient(goal(weight=100.0, threshold=0.0), x, KEYS)
    assert torch.allclose(knowing, directions(6) - 100 / x[0].numel(), atol=1e-5)


def test_draws_are_fresh_and_all_of_them_must_pass() -> None:
    x = images(6)
    noisy = goal(detector=Level(noise=0.2), draws=8)
    seen = noisy.suspicion(x, KEYS)
    assert seen.shape == (6, 8)
    assert all(len(row.unique()) == 8 for row in seen)
    found = noisy(x, KEYS)
    assert torch.equal(found.success, (seen <= 0.5).all(1))
    assert torch.allclose(found.loss, noisy.goal(x, KEYS).loss - (seen - 0.5).clamp_min(0).mean(1))


def test_some_of_the_samples_are_what_they_were() -> None:
    rows, x = torch.tensor([4, 1]), images(6)
    noisy = goal(detector=Level(noise=0.2), draws=3)
    some = noisy.take(rows)
    assert some.captions == ("4", "1")
    assert torch.equal(some(x[rows], KEYS[rows]).loss, noisy(x, KEYS).loss[rows])


def test_an_attack_that_knows_stays_below_the_threshold() -> None:
    """The goal wants all pixels bright; brightness is what is suspicious."""
    x, threat = images(6, low=100, high=140), Threat(eps=0.1)
    bright = Sure(weights=torch.ones_like(x))
    level = float(x.mean()) + 0.02
    attack = PGD(steps=60, random_start=False, keep_best=False, step=1 / 255)
    success = {
        weight: goal(goal=bright, threshold=level, weight=weight)(
            attack(goal(goal=bright, threshold=level, weight=weight, margin=0.01), x, threat, KEYS).x, KEYS
        ).success
        for weight in (0.0, 100.0)
    }
    assert not bool(success[0.0].any())
    assert bool(success[100.0].all())


def test_where_any_caption_will_do_the_detector_asks_for_itself() -> None:
    class Asking(Level):
        def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
            assert captions == ()
            return x.flatten(1).mean(1)

    x, rows = images(6), torch.tensor([2, 5])
    free = goal(captions=(), detector=Asking(), draws=2)
    assert torch.equal(free(x, KEYS).loss, goal()(x, KEYS).loss)
    assert torch.equal(free.take(rows)(x[rows], KEYS[rows]).loss, goal()(x, KEYS).loss[rows])


def reds(n: int = 4) -> tuple[Tensor, Keys]:
    """Reddish images, a little more green than blue."""
    grain = 0.02 * Keys.of(3, range(n)).uniform((3, 8, 8))
    return torch.tensor([0.68, 0.56, 0.54])[:, None, None] + grain, Keys.of(0, range(n))


def unsaying(guarded: Guarded, n: int = 4, weight: float = 1.0) -> DetectorEvasion:
    """Anything but red, and to be believed."""
    goal = UntargetedCaption(captioner=COLORS, texts=(("red again",),) * n)
    return DetectorEvasion(
        goal=goal,
        detector=guarded,
        captions=(),
        threshold=guarded.threshold,
        weight=weight,
        margin=0.01,
        networks=guarded.modules,
    )


def test_untargeted_the_hinge_is_on_what_is_said_now() -> None:
    x, keys = reds()
    green = x.roll(1, 1)
    for images_, word in ((x, "red"), (green, "green")):
        guarded = colors_behind(threshold=0.0)
        found = unsaying(guarded, weight=3.0)
        assert guarded.detector is not None
        said = guarded.detector.suspicion(images_, keys, [f"{word} again"] * 4)
        assert float(said.min()) > 0.01
        assert torch.allclose(found(images_, keys).loss, found.goal(images_, keys).loss - 3 * (said + 0.01))
    half = unsaying(guarded).take(torch.tensor([2, 0]))
    assert half.captions == () and len(half.suspicion(x[[2, 0]], keys[[2, 0]])) == 2


def test_untargeted_the_hinge_s_gradient_is_the_slope() -> None:
    """Central differences: what is said does not change, and its painting stays."""
    x, keys = reds()
    x, away = x.requires_grad_(), keys.normal((3, 8, 8))
    goal = unsaying(colors_behind(threshold=0.0))
    (slope,) = torch.autograd.grad(goal.suspicion(x, keys).sum(), x)
    with torch.no_grad():
        rise, fall = (goal.suspicion(x + h * away, keys) for h in (1e-3, -1e-3))
    wanted = ((rise - fall) / 2e-3)[:, 0]
    assert float(wanted.abs().min()) > 0
    assert torch.allclose((slope * away).flatten(1).sum(1), wanted, rtol=1e-2, atol=1e-3)


def test_untargeted_another_caption_is_said_and_believed() -> None:
    """Without the hinge two colors rise together, and the painting of one is not like both.

    On the way from one color to another no painting is like the image: a hinge that counts from
    the start keeps it in front of that hill.
    """
    x, keys = reds()
    guarded = colors_behind(threshold=0.2)
    assert bool(guarded.decide(x, keys).accepted.all())
    blind = unsaying(guarded, weight=0.0)
    held = unsaying(guarded, weight=30.0)
    behind = replace(held, after=0.46)
    attack = PGD(steps=60, step=1 / 255, random_start=False, keep_best=False)
    for goal, said, believed in ((blind, "green", False), (held, "red", True), (behind, "green", True)):
        answered = guarded.decide(attack(goal, x, Threat(eps=0.1), keys).x, keys)
        assert answered.texts == [f"{said} again"] * 4
        assert answered.accepted.tolist() == [believed] * 4


def test_the_hinge_waits_for_the_goal() -> None:
    x = images(6)
    plain = goal(threshold=0.0, weight=2.0)
    losses, goals = plain(x, KEYS).loss, plain.goal(x, KEYS).loss
    middle = float(goals.median())
    waiting = replace(plain, after=middle)(x, KEYS).loss
    assert torch.equal(waiting, torch.where(goals < middle, goals, losses))
    assert 0 < int((waiting == goals).sum()) < 6


# --- a detector that is kept up to date -----------------------------------------------------------

X = torch.cat([color(0.6, 0.3, 0.1), color(0.1, 0.3, 0.6), color(0.1, 0.6, 0.3)])
THREE = Keys.of(0, "abc")


class Reading:
    """Remembers what it was given to read."""

    def __init__(self) -> None:
        self.captions: list[str] = []

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        self.captions = list(captions)
        return x.mean((1, 2, 3))


def test_what_fulfills_the_goal_is_read_and_else_what_is_hoped_for() -> None:
    reading = Reading()
    feedback = CaptionFeedback(detector=reading, captioner=COLORS, fulfills=lambda said, hope: said[0] == hope[0])
    x = X.clone().requires_grad_()
    found = feedback.suspicion(x, THREE, ["red", "green", "green"])
    assert reading.captions == ["red again", "green", "green again"]
    (slope,) = torch.autograd.grad(found.sum(), x)
    assert bool((slope != 0).all())


@pytest.mark.parametrize("kind", ["feedback", "own"])
def test_captions_are_written_as_they_are_for_the_detector(kind: str) -> None:
    reading, caption = Reading(), {"length": 1}
    if kind == "own":
        OwnCaptions(detector=reading, captioner=COLORS, caption=caption).suspicion(X, THREE)
    else:
        CaptionFeedback(detector=reading, captioner=COLORS, fulfills=lambda *_: True, caption=caption).suspicion(
            X, THREE, ["a", "b", "c"]
        )
    assert reading.captions == ["red", "blue", "green"]


def test_own_captions_are_read_as_the_guarded_model_has_them_read() -> None:
    """The gradient and the suspicion are those of a guarded captioner that is asked itself."""
    guarded = colors_behind()
    assert guarded.detector is not None
    own = OwnCaptions(detector=guarded.detector, captioner=COLORS, caption=guarded.caption)
    assert torch.equal(own.suspicion(X, THREE), guarded.suspicion(X, THREE))


def test_the_worst_attack_is_a_success_before_it_is_a_loss() -> None:
    success = [torch.tensor([False, True, False]), torch.tensor([True, True, False])]
    loss = [torch.tensor([9.0, 1.0, 2.0]), torch.tensor([0.0, 2.0, 1.0])]
    assert worst(success, loss).tolist() == [1, 1, 0]


@pytest.mark.parametrize("change", [{"weight": -1.0}, {"margin": -0.1}, {"draws": 0}])
def test_settings_that_do_not_fit_are_named(change: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(change))):
        replace(goal(), **change)
