"""Sounds inside their ball: closed forms, what a 16-bit file holds, and the front door."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import secondlook as sl
from secondlook.errors import BrokenThreat, InvalidInput
from secondlook.signals import IMAGE, SOUND, decibels, distribution, segmental, signal_of
from secondlook.threat import Threat

LOUD = torch.tensor([0.05, 0.2, 0.01, 0.1])[:, None]
WAVES = ((torch.randn(4, 600, generator=torch.Generator().manual_seed(0)) * LOUD).clamp(-1, 1) * 32768).round() / 32768


def scorer() -> nn.Linear:
    net = nn.Linear(600, 2)
    with torch.no_grad():
        net.weight.copy_(torch.randn(2, 600, generator=torch.Generator().manual_seed(1)))
        net.bias.zero_()
    return net


def test_every_16_bit_sample_comes_back() -> None:
    steps = torch.arange(-32768, 32768)
    carried = SOUND.carried((steps / 32768)[None])
    assert carried.shape == (1, 1, 1, 65536)
    assert torch.equal(SOUND.stored(carried)[0, 0, 0].long(), steps)
    assert torch.equal(SOUND.natural(SOUND.read(SOUND.stored(carried), torch.float32))[0] * 32768, steps.float())


def test_full_scale_has_no_16_bit_value() -> None:
    one = SOUND.carried(torch.ones(1, 4))
    assert SOUND.stored(one).unique().tolist() == [32767]
    assert float(SOUND.natural(Threat(eps=0.1, grid=32768, signal=SOUND).quantize(one, one)).max()) == 32767 / 32768


def test_a_file_tells_its_signal() -> None:
    x = torch.rand(1, 3, 2, 2)
    assert signal_of(IMAGE.stored(x)) is IMAGE and signal_of(SOUND.stored(SOUND.carried(WAVES))) is SOUND


def test_the_projection_onto_a_ratio_is_the_nearest_point_of_its_sphere() -> None:
    clean, threat = SOUND.carried(WAVES), Threat(norm="snr", eps=25.0, signal=SOUND)
    away = torch.randn(WAVES.shape, generator=torch.Generator().manual_seed(2)) * 0.05
    found = SOUND.natural(threat.project(SOUND.carried(WAVES + away), clean))
    shorter = WAVES + away * (WAVES.norm(dim=1) * 10 ** (-25 / 20) / away.norm(dim=1))[:, None]
    assert torch.allclose(found, shorter, atol=1e-6)
    assert torch.allclose(decibels(WAVES, found).float(), torch.full((4,), 25.0), atol=1e-3)
    inside = SOUND.carried(WAVES + away / 1e4)
    assert torch.allclose(threat.project(inside, clean), inside, atol=1e-7)


def test_a_change_that_is_too_loud_for_one_of_the_sounds_is_found() -> None:
    threat = Threat(norm="snr", eps=30.0, signal=SOUND)
    same = torch.full_like(WAVES, float(WAVES[1].norm() * 10 ** (-31 / 20) / 600**0.5))
    with pytest.raises(BrokenThreat, match="below 30 dB"):
        threat.check(SOUND.carried(WAVES + same), SOUND.carried(WAVES))
    threat.check(SOUND.carried(WAVES + same)[1:2], SOUND.carried(WAVES)[1:2])


@pytest.mark.parametrize("norm", ["linf", "l2", "snr"])
def test_pgd_reaches_the_optimum_of_a_linear_scorer(norm: str) -> None:
    net, y = scorer(), torch.zeros(4, dtype=torch.long)
    budget = {"linf": {"eps": 0.01}, "l2": {"eps": 0.1}, "snr": {"snr": 20.0}}[norm]
    found = sl.attack(net, WAVES, y, sl.PGD(steps=40), norm=norm if norm == "l2" else "linf", **budget).x  # type: ignore[arg-type]
    slope = (net.weight[1] - net.weight[0]).detach()
    best = {
        "linf": 0.01 * slope.abs().sum().expand(4),
        "l2": 0.1 * slope.norm().expand(4),
        "snr": WAVES.norm(dim=1) * 0.1 * slope.norm(),
    }[norm]
    # What is right already costs no attack; what is wrong already is left alone.
    tried = (WAVES @ slope) < 0
    assert torch.allclose(((found - WAVES) @ slope)[tried], best[tried], rtol=2e-2)


def test_an_attacked_sound_is_what_a_file_holds_and_its_ratio_is_kept() -> None:
    net, y = scorer(), scorer()(WAVES).argmax(1)
    for attack in ("pgd", "apgd", "square"):
        found = sl.attack(net, WAVES, y, attack, snr=12, grid=32768, progress=False)
        assert bool((found.x * 32768 == (found.x * 32768).round()).all())
        assert float(decibels(WAVES, found.x).min()) > 11.999
        assert torch.equal(net(found.x).argmax(1) != y, found.success)


def test_a_sound_is_attacked_alike_whoever_is_beside_it() -> None:
    net, y = scorer(), torch.tensor([0, 1, 0, 1])
    whole = sl.attack(net, WAVES, y, "apgd", snr=20, progress=False).x
    alone = sl.attack(net, WAVES[:1], y[:1], "apgd", snr=20, progress=False).x
    assert torch.allclose(whole[:1], alone, atol=1e-6)


def test_arrays_come_back_as_arrays() -> None:
    found = sl.attack(scorer(), WAVES.numpy(), [0, 1, 0, 1], "fgsm", eps=0.002, progress=False)
    assert isinstance(found.x, np.ndarray) and found.x.shape == (4, 600)


def test_a_defended_network_of_sounds_takes_waveforms() -> None:
    guarded = sl.defend(scorer(), "noise", sigma=0.001, signal="sound")
    assert guarded(WAVES).scores.shape == (4, 2)
    assert sl.attack(guarded, WAVES, guarded(WAVES).answer, "pgd", snr=12, draws=2, progress=False).x.shape == (4, 600)


def silent(at: int) -> Tensor:
    waves = WAVES.clone()
    waves[at] = 0
    return waves


@pytest.mark.parametrize(
    ("waves", "budget", "named"),
    [
        (silent(2), {"snr": 30}, "sound 2 is silent"),
        (WAVES * 40, {"snr": 30}, "full scale is 1"),
        (WAVES.where(WAVES < 0.1, torch.nan), {"eps": 0.002}, "NaN"),
        ((WAVES * 32768).short(), {"eps": 0.002}, "/ 32768"),
        (WAVES.half(), {"eps": 0.002}, "too coarse"),
        (WAVES[:, :0], {"eps": 0.002}, "no samples"),
        (WAVES, {"eps": 0.002, "snr": 30}, "one of eps"),
        (WAVES, {}, "snr=30 for sounds"),
        (WAVES, {"snr": 300}, "120 dB"),
        (WAVES[:, None], {"snr": 30}, r"write x\[:, 0\]"),
        (WAVES[:, :500], {"snr": 30}, r"on sounds \(4, 500\)"),
        (WAVES, {"eps": 0.1, "norm": "l1"}, "bounds no sound"),
        (WAVES + 1e-5, {"eps": 0.002, "grid": 32768}, "between the levels"),
        (torch.rand(4, 3, 8, 8), {"snr": 30}, "bounds no image"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told(waves: Tensor, budget: dict[str, float], named: str) -> None:
    with pytest.raises(InvalidInput, match=named):
        sl.attack(scorer(), waves, [0, 1, 0, 1], "pgd", **budget)  # type: ignore[arg-type]


def test_the_ratios_of_a_row() -> None:
    assert decibels(WAVES, WAVES).tolist() == [float("inf")] * 4
    assert distribution([30.0]).startswith("SNR 30.0 / 30.0")
    assert torch.allclose(segmental(WAVES, WAVES * 1.1), torch.full((4,), 20.0, dtype=torch.float64), atol=1e-3)
