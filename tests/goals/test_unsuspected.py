"""The adaptive goal: the hinge in closed form, its draws, and the worst of several attacks."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from secondlook.attacks.base import Judged, input_gradient
from secondlook.attacks.pgd import PGD
from secondlook.defenses.watched import Watched
from secondlook.errors import InvalidInput
from secondlook.goals.caption import Unsay
from secondlook.goals.unsuspected import Unsuspected, worst
from secondlook.randomness import Keys
from secondlook.threat import Threat
from tests.analytic import Slope, directions, images
from tests.defenses.test_watched import watched

KEYS = Keys.of(0, range(6))
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

    def __call__(self, x: Tensor, keys: Keys) -> Judged:
        judged = super().__call__(x, keys)
        return Judged(judged.loss, torch.ones_like(judged.reached))


def goal(**settings: object) -> Unsuspected:
    plain = {"wish": Sure(weights=directions(6)), "watcher": Level(), "captions": CAPTIONS,
             "threshold": 0.5}  # fmt: skip
    return Unsuspected(**{**plain, **settings})  # type: ignore[arg-type]


def test_the_loss_is_the_wish_less_the_hinge() -> None:
    x = images(6, seed=3)
    bright = x.flatten(1).mean(1)
    found = goal(weight=3.0, margin=0.02, threshold=0.5)(x, KEYS)
    hinge = (bright - 0.5 + 0.02).clamp_min(0)
    assert 0 < int((hinge > 0).sum()) < 6
    assert torch.allclose(found.loss, goal().wish(x, KEYS).loss - 3 * hinge)
    assert torch.equal(found.reached, bright <= 0.5)


def test_without_a_weight_the_gradient_is_that_of_the_wish() -> None:
    x = images(6)
    blind, _ = input_gradient(goal(weight=0.0), x, KEYS)
    assert torch.allclose(blind, directions(6))
    knowing, _ = input_gradient(goal(weight=100.0, threshold=0.0), x, KEYS)
    assert torch.allclose(knowing, directions(6) - 100 / x[0].numel(), atol=1e-5)


def test_looks_are_fresh_and_all_of_them_must_pass() -> None:
    x = images(6)
    noisy = goal(watcher=Level(noise=0.2), draws=8)
    seen = noisy.suspicion(x, KEYS)
    assert seen.shape == (6, 8)
    assert all(len(row.unique()) == 8 for row in seen)
    found = noisy(x, KEYS)
    assert torch.equal(found.reached, (seen <= 0.5).all(1))
    assert torch.allclose(
        found.loss, noisy.wish(x, KEYS).loss - (seen - 0.5).clamp_min(0).mean(1)
    )  # fmt: skip


def test_some_of_the_samples_are_what_they_were() -> None:
    rows, x = torch.tensor([4, 1]), images(6)
    noisy = goal(watcher=Level(noise=0.2), draws=3)
    some = noisy.take(rows)
    assert some.captions == ("4", "1")
    assert torch.equal(some(x[rows], KEYS[rows]).loss, noisy(x, KEYS).loss[rows])


def test_an_attack_that_knows_stays_below_the_threshold() -> None:
    """The wish wants all pixels bright; brightness is what is suspicious."""
    x, threat = images(6, low=100, high=140), Threat(eps=0.1)
    bright = Sure(weights=torch.ones_like(x))
    level = float(x.mean()) + 0.02
    attack = PGD(steps=60, random_start=False, keep_best=False, step=1 / 255)
    reached = {
        weight: goal(wish=bright, threshold=level, weight=weight)(
            attack(goal(wish=bright, threshold=level, weight=weight, margin=0.01), x, threat,
                   KEYS).x, KEYS
        ).reached
        for weight in (0.0, 100.0)
    }  # fmt: skip
    assert not bool(reached[0.0].any())
    assert bool(reached[100.0].all())


def test_where_any_caption_will_do_the_watcher_hears_for_itself() -> None:
    class Hearing(Level):
        def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
            assert captions == ()
            return x.flatten(1).mean(1)

    x, rows = images(6), torch.tensor([2, 5])
    free = goal(captions=(), watcher=Hearing(), draws=2)
    assert torch.equal(free(x, KEYS).loss, goal()(x, KEYS).loss)
    assert torch.equal(free.take(rows)(x[rows], KEYS[rows]).loss, goal()(x, KEYS).loss[rows])


def reds(n: int = 4) -> tuple[Tensor, Keys]:
    """Reddish images, a little more green than blue."""
    grain = 0.02 * Keys.of(3, range(n)).uniform((3, 8, 8))
    return torch.tensor([0.68, 0.56, 0.54])[:, None, None] + grain, Keys.of(0, range(n))


def unsaying(guard: Watched, n: int = 4, weight: float = 1.0) -> Unsuspected:
    """Anything but red, and to be believed."""
    wish = Unsay(captioner=guard.captioner, texts=(("red again",),) * n)
    return Unsuspected(
        wish=wish, watcher=guard, captions=(), threshold=guard.threshold, weight=weight,
        margin=0.01, watching=guard.modules,
    )  # fmt: skip


def test_untargeted_the_hinge_is_on_what_is_said_now() -> None:
    x, keys = reds()
    green = x.roll(1, 1)
    for images_, word in ((x, "red"), (green, "green")):
        guard = replace(watched(), threshold=0.0)
        found = unsaying(guard, weight=3.0)
        said = guard.detector.suspicion(images_, keys, [f"{word} again"] * 4)
        assert float(said.min()) > 0.01
        assert torch.allclose(
            found(images_, keys).loss, found.wish(images_, keys).loss - 3 * (said + 0.01)
        )
    half = unsaying(guard).take(torch.tensor([2, 0]))
    assert half.captions == () and len(half.suspicion(x[[2, 0]], keys[[2, 0]])) == 2


def test_untargeted_the_hinge_s_gradient_is_the_slope() -> None:
    """Central differences in fp64: what is said does not change, and its painting stays."""
    x, keys = reds()
    x, away = x.double().requires_grad_(), keys.normal((3, 8, 8)).double()
    goal = unsaying(replace(watched(), threshold=0.0))
    (slope,) = torch.autograd.grad(goal.suspicion(x, keys).sum(), x)
    with torch.no_grad():
        rise, fall = (goal.suspicion(x + h * away, keys) for h in (1e-4, -1e-4))
    wanted = ((rise - fall) / 2e-4)[:, 0]
    assert float(wanted.abs().min()) > 0
    assert torch.allclose((slope * away).flatten(1).sum(1), wanted, rtol=1e-4)


def test_untargeted_another_caption_is_said_and_believed() -> None:
    """Without the hinge two colours rise together, and the painting of one is not like both.

    On the way from one colour to another no painting is like the image: a hinge that counts from
    the start keeps it in front of that hill.
    """
    x, keys = reds()
    guard = replace(watched(), threshold=0.2)
    assert bool(guard.decide(x, keys).accepted.all())
    blind = unsaying(guard, weight=0.0)
    held = unsaying(guard, weight=30.0)
    behind = replace(held, after=0.46)
    attack = PGD(steps=60, step=1 / 255, random_start=False, keep_best=False)
    for goal, said, believed in ((blind, "green", False), (held, "red", True),
                                 (behind, "green", True)):  # fmt: skip
        answered = guard.decide(attack(goal, x, Threat(eps=0.1), keys).x, keys)
        assert answered.captions == [f"{said} again"] * 4
        assert answered.accepted.tolist() == [believed] * 4


def test_the_hinge_waits_for_the_wish() -> None:
    x = images(6)
    plain = goal(threshold=0.0, weight=2.0)
    losses, wishes = plain(x, KEYS).loss, plain.wish(x, KEYS).loss
    middle = float(wishes.median())
    waiting = replace(plain, after=middle)(x, KEYS).loss
    assert torch.equal(waiting, torch.where(wishes < middle, wishes, losses))
    assert 0 < int((waiting == wishes).sum()) < 6


def test_the_worst_attack_is_a_success_before_it_is_a_loss() -> None:
    reached = [torch.tensor([False, True, False]), torch.tensor([True, True, False])]
    loss = [torch.tensor([9.0, 1.0, 2.0]), torch.tensor([0.0, 2.0, 1.0])]
    assert worst(reached, loss).tolist() == [1, 1, 0]


@pytest.mark.parametrize("change", [{"weight": -1.0}, {"margin": -0.1}, {"draws": 0}])
def test_settings_that_do_not_fit_are_named(change: dict[str, float]) -> None:
    with pytest.raises(InvalidInput, match=next(iter(change))):
        replace(goal(), **change)
