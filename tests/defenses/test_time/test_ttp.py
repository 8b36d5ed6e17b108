"""After TTP: its borders, its gate, its average."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.ttp import PLAIN, TTP, TunedBorder, alike
from secondlook.errors import InvalidInput
from tests.closeness import same
from tests.defenses.test_time.scenes import KEYS, X, clip, fooled, gradients, passes, worked_on
from tests.tiny import eye

SMALL = TTP(widths=2)


def work(settings: TTP) -> TunedBorder:
    found = Guarded(clip(), settings).adaptation
    assert isinstance(found, TunedBorder)
    return found


def test_the_image_lies_within_each_border() -> None:
    border = work(SMALL)
    white = border.padded(X, torch.ones_like(X)[:, None].expand(-1, 2, -1, -1, -1))
    black = border.padded(X, torch.zeros_like(X)[:, None].expand(-1, 2, -1, -1, -1))
    outside = (white - black).amax(2) > 0.5
    assert outside[0].flatten(1).sum(1).tolist() == [64**2 - 56**2, 64**2 - 48**2]
    assert torch.equal(white[:, 1, :, 8:56, 8:56], black[:, 1, :, 8:56, 8:56])


def test_borders_are_tuned_down_the_entropy() -> None:
    border = work(replace(SMALL, steps=2))
    plain = torch.full_like(X, PLAIN)[:, None].repeat(1, 2, 1, 1, 1)
    with torch.no_grad():
        before, after = (border.doubt(border.padded(X, at)) for at in (plain, border.tuned(X)))
    assert float((after < before + 1e-6).float().mean()) >= 0.75 and float(after.mean()) < float(before.mean())


def test_what_a_border_does_not_shift_is_answered_for_as_it_is() -> None:
    bare = clip()(X)
    assert same(Guarded(clip(), replace(SMALL, shift_above=1.0)).decide(X, KEYS).scores, bare)
    assert not torch.allclose(Guarded(clip(), replace(SMALL, shift_above=0.0)).decide(X, KEYS).scores, bare, atol=1e-3)


def test_vectors_that_are_unlike_the_others_count_less() -> None:
    found = alike(torch.tensor([[[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]), 0.01)
    assert found[0].tolist() == pytest.approx([1.0, 0.0], abs=1e-3)


def test_it_runs_under_attack_and_feels_no_neighbor() -> None:
    assert passes(SMALL) == (2 * (1 + 2) + 1, 2)
    assert float(coupling(Guarded(clip(), SMALL), X[:3], KEYS[:3], kept=1).max()) < COUPLED
    full, past = gradients(SMALL)
    assert float((full - past).norm() / past.norm()) > 1e-3
    assert fooled(SMALL) >= 1


def test_the_gate_tells_which_images_are_worked_on() -> None:
    stopped, moved = worked_on(Guarded(clip(), replace(SMALL, shift_above=0.1)))
    assert stopped == moved and 0 < sum(stopped) < len(X)


def test_models_without_classes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="ttp works with the vectors of classes"):
        Guarded(eye(), TTP())
