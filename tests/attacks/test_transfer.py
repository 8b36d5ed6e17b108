"""MI-, DI-, TI- and VMI-FGSM: what each adds to the one before, in closed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook import registry
from secondlook.attacks.base import input_gradient
from secondlook.attacks.di_fgsm import DIFGSM, resized_and_padded
from secondlook.attacks.mi_fgsm import MIFGSM
from secondlook.attacks.pgd import PGD
from secondlook.attacks.ti_fgsm import TIFGSM
from secondlook.attacks.vmi_fgsm import VMIFGSM
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.randomness import Keys
from secondlook.threat import Norm, Threat, per_sample
from tests.analytic import Bowl, Slope, directions, images

KEYS = Keys.of(0, range(6))
THREAT = Threat(eps=10 / 255)
NEW = ("di-fgsm", "ti-fgsm", "vmi-fgsm")


def bowl(clean: Tensor) -> Bowl:
    """A peak beside each image, in another direction for each pixel."""
    return Bowl(center=clean + 4 / 255 * directions(len(clean)).clamp(-1, 1))


# --- MI ------------------------------------------------------------------------------------------


def test_ten_equal_steps_reach_the_corner() -> None:
    weights = directions(6)
    with counting() as ledger:
        found = MIFGSM()(Slope(weights=weights), images(6), THREAT, KEYS)
    assert torch.allclose(found.x, images(6) + THREAT.eps * weights.sign(), atol=1e-6)
    assert (ledger.forwards, ledger.backwards) == (60, 60)
    assert MIFGSM().step_length(9, THREAT, torch.zeros(1, 3, 2, 2)) == pytest.approx(1 / 255)


def test_it_is_pgd_with_full_momentum() -> None:
    """Around a peak the momentum carries it past, so that the last iterate tells one from none."""
    clean = images(6)
    peak = Bowl(center=clean + 3.3 / 255)
    plain = {"steps": 10, "step": 1 / 255, "random_start": False, "keep_best": False}
    as_pgd = {m: PGD(momentum=m, **plain)(peak, clean, THREAT, KEYS).x for m in (0.0, 1.0)}  # type: ignore[arg-type]
    found = MIFGSM()(peak, clean, THREAT, KEYS).x
    assert torch.equal(found, as_pgd[1.0])
    assert not torch.equal(found, as_pgd[0.0])


# --- the three in common -------------------------------------------------------------------------


def test_the_defaults_are_the_published_ones() -> None:
    di, ti, vmi = DIFGSM(), TIFGSM(), VMIFGSM()
    assert {(a.steps, a.momentum, a.random_start, a.keep_best) for a in (di, ti, vmi)} == {(10, 1.0, False, False)}
    assert (di.probability, di.smallest, ti.kernel) == (0.5, 299 / 330, 15)
    assert (vmi.neighbors, vmi.beta) == (20, 1.5)


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("di-fgsm", {"probability": 0}),
        ("di-fgsm", {"smallest": 1}),
        ("ti-fgsm", {"kernel": 1}),
        ("vmi-fgsm", {"neighbors": 0}),
        ("vmi-fgsm", {"beta": 0}),
    ],
)
@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
def test_without_its_part_it_is_mi_fgsm(name: str, config: dict[str, Any], norm: Norm) -> None:
    clean = images(6)
    threat = Threat(norm=norm, eps={"linf": 10 / 255, "l2": 0.3, "l1": 2.0}[norm])
    plain = MIFGSM()(bowl(clean), clean, threat, KEYS)
    bare = registry.build("attack", name, config)(bowl(clean), clean, threat, KEYS)
    assert torch.equal(bare.x, plain.x)
    assert torch.equal(bare.trace.last_loss, plain.trace.last_loss)
    # With it, it is another; a kernel of three pixels, as one of 15 leaves little of these images.
    full = registry.build("attack", name, {"kernel": 3} if name == "ti-fgsm" else {})
    assert not torch.equal(full(bowl(clean), clean, threat, KEYS).x, plain.x)


@pytest.mark.parametrize("name", NEW)
def test_draws_are_each_samples_own(name: str) -> None:
    clean, attack = images(6), registry.build("attack", name, {"steps": 5})
    together = attack(bowl(clean), clean, THREAT, KEYS)
    for rows in (torch.tensor([4]), torch.tensor([5, 2, 0])):
        alone = attack(bowl(clean).take(rows), clean[rows], THREAT, KEYS[rows])
        assert torch.equal(alone.x, together.x[rows])
        assert torch.equal(alone.trace.last_loss, together.trace.last_loss[rows])


@pytest.mark.parametrize(
    ("attack", "field"),
    [
        (DIFGSM, {"probability": 1.5}),
        (DIFGSM, {"smallest": 0.0}),
        (TIFGSM, {"kernel": 4}),
        (TIFGSM, {"kernel": 0}),
        (VMIFGSM, {"neighbors": -1}),
        (VMIFGSM, {"beta": -0.1}),
    ],
)
def test_settings_outside_their_range_are_named(attack: type[MIFGSM], field: dict[str, Any]) -> None:
    with pytest.raises(InvalidInput, match=f"{[*field][0]}="):
        attack(**field)


# --- DI ------------------------------------------------------------------------------------------


def test_the_gradient_goes_back_through_the_view() -> None:
    """That of ``<w, view(x)>`` is the view's transpose of w: by finite differences."""
    weights, keys = directions(6), KEYS.fold("step", 0, 0)
    attack, slope, clean = DIFGSM(probability=1, smallest=0.5), Slope(weights=weights), images(6)
    gradient, evaluation = attack.gradient(slope, clean, keys)
    assert torch.equal(evaluation.loss, slope(attack.view(clean, keys), keys).loss)
    away = directions(6, seed=1)
    ahead, behind = (slope(attack.view(clean + s * away, keys), keys).loss for s in (0.1, -0.1))
    along = (gradient * away).flatten(1).sum(1)
    assert torch.allclose((ahead - behind) / 0.2, along, atol=1e-3)
    assert not torch.allclose(gradient, weights, atol=0.1)


def test_each_step_draws_another_view() -> None:
    attack, clean = DIFGSM(probability=1), images(6)
    first, second = (attack.view(clean, KEYS.fold("step", step)) for step in (0, 1))
    assert not torch.equal(first, second)


def test_about_half_of_the_images_are_resized() -> None:
    keys = Keys.of(0, range(200))
    x = torch.full((200, 3, 20, 20), 0.5)
    found = resized_and_padded(x, keys, 0.5, 0.6)
    same = (found == x).flatten(1).all(1)
    assert 70 < int(same.sum()) < 130
    area = found[~same].sum((1, 2, 3)) / x[~same].sum((1, 2, 3))
    assert float(area.min()) > 0.6**2 - 0.02
    assert float(area.max()) <= 1


# --- TI ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [1, 3, 7, 15])
def test_the_gradient_is_convolved_with_the_published_kernel(kernel: int) -> None:
    keys, weights = KEYS[:2], directions(2).repeat(1, 1, 3, 4)
    slope, clean = Slope(weights=weights), images(2).repeat(1, 1, 3, 4)
    weight = torch.exp(-(torch.linspace(-3, 3, kernel).double() ** 2) / 2)
    square = torch.outer(weight, weight) / weight.sum() ** 2
    plain, _ = input_gradient(slope, clean, keys)
    expected = F.conv2d(plain.double(), square.expand(3, 1, -1, -1), padding=kernel // 2, groups=3).float()
    found, evaluation = TIFGSM(kernel=kernel).gradient(slope, clean, keys)
    assert torch.allclose(found, expected, atol=1e-6)
    assert torch.equal(evaluation.loss, slope(clean, keys).loss)


# --- VMI -----------------------------------------------------------------------------------------


def test_variance_is_the_mean_gradient_nearby_less_the_one_here() -> None:
    """Around a peak, whose gradient is ``center - x``: minus the mean offset of the neighbors."""
    clean = images(1, 120, 136)
    peak, keys, eps = Bowl(center=clean + 3.3 / 255), KEYS[:1], 10 / 255
    attack = VMIFGSM(steps=2, neighbors=3)
    x, momentum, variance = clean, torch.zeros_like(clean), torch.zeros_like(clean)
    for step in range(2):
        own = keys.fold("step", step, 0)
        offsets = [
            1.5 * eps * (own.fold("neighbor", n).fold("start").uniform(clean.shape[1:]) * 2 - 1) for n in range(3)
        ]
        tuned = (peak.center - x) + variance
        variance = -torch.stack(offsets).mean(0)
        momentum = momentum + tuned / per_sample(tuned.flatten(1).abs().mean(1))
        x = THREAT.project(x + momentum.sign() * eps / 2, clean)
    assert torch.allclose(attack(peak, clean, THREAT, keys).x, x, atol=1e-6)
    assert not torch.equal(MIFGSM(steps=2)(peak, clean, THREAT, keys).x, x)


def test_each_neighbor_costs_a_pass() -> None:
    with counting() as ledger:
        VMIFGSM(steps=3, neighbors=4)(Slope(weights=directions(6)), images(6), THREAT, KEYS)
    assert (ledger.forwards, ledger.backwards) == (6 * 3 * 5, 6 * 3 * 5)
