"""After SCC: its ball, its belief, its contrast."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.scc import SCC, Belief, Calibrated, contrast
from secondlook.errors import InvalidInput
from tests.defenses.test_time.scenes import KEYS, X, clip, fooled, passes
from tests.tiny import eye

SMALL = SCC(warm=1, steps=1, crops=2)


def work(settings: SCC) -> Calibrated:
    found = Guarded(clip(), settings).adaptation
    assert isinstance(found, Calibrated)
    return found


def test_the_contrast_is_to_the_nearest_other_class() -> None:
    texts = torch.eye(3)
    target = Belief(torch.tensor([[0.8, 0.6, 0.0]]), torch.tensor([0]))
    assert float(contrast(torch.tensor([[0.6, 0.64, 0.48]]), texts, target)) == pytest.approx(0.864 - 0.64)


def test_steps_stay_in_the_ball_and_make_the_consensus_more_certain() -> None:
    long = work(replace(SMALL, steps=4))
    seen, start = long.counter(X, KEYS).detach(), work(replace(SMALL, steps=1, step=1e-9)).counter(X, KEYS).detach()
    assert float((seen - X).abs().max()) <= 4 / 255 + 1e-6
    assert float(seen.min()) >= 0 and float(seen.max()) <= 1
    target = long.consensus(start, KEYS)
    before, after = (contrast(clip().embedder.embed(at), clip().texts, target) for at in (start, seen))
    assert float((after > before).float().mean()) >= 0.75


def test_a_lower_temperature_sharpens_what_is_believed() -> None:
    flat, sharp = (work(replace(SMALL, sharpening=value)).consensus(X, KEYS) for value in (2.0, 0.25))
    assert torch.equal(flat.named, sharp.named)
    own = clip().texts[sharp.named]
    assert bool(((sharp.soft * own).sum(1) >= (flat.soft * own).sum(1) - 1e-6).all())


def test_it_runs_under_attack_and_feels_no_neighbor() -> None:
    assert passes(SMALL) == (1 + 1 + 2 + 2, 2)
    assert float(coupling(Guarded(clip(), SMALL), X[:3], KEYS[:3], kept=1).max()) < COUPLED
    assert fooled(SMALL) >= 1


def test_models_without_classes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="scc works with the vectors of classes"):
        Guarded(eye(), SCC())
