"""DBD: its correction, the views it makes and keeps, its gate, and white that came out black."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.attacks.base import differentiate
from secondlook.attacks.synthesis import Synthesis
from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.dbd import DBD, DirectionalBias, directional_bias, rounded_to_levels
from secondlook.defenses.test_time.gates import soft_gate
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.threat import Threat
from tests.defenses.test_time.scenes import KEYS, X, clip
from tests.tiny import COLORS, eye

SMALL = DBD(crops=3, noises=2, kept=4)
PAIR = torch.tensor([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.6, 0.8, 0.0]])[None]
"""The image's own vector and those of two views of it."""


def bias(settings: DBD, model: ZeroShot | None = None) -> DirectionalBias:
    found = Guarded(model or ZeroShot(eye(), COLORS), settings).adaptation
    assert isinstance(found, DirectionalBias)
    return found


def answer(settings: DBD, vectors: Tensor = PAIR) -> list[float]:
    weights = bias(settings).weighed(vectors, KEYS[:1]).weights
    return (weights[..., None] * vectors).sum(1)[0].tolist()


def test_the_answer_is_that_computed_by_hand() -> None:
    assert float(directional_bias(PAIR[:, 0], PAIR[:, 1:]).agreement) == pytest.approx(0.99741, abs=1e-5)
    assert answer(DBD(kept=2)) == pytest.approx([0.25, 1.75, 0.0], abs=1e-6)
    assert answer(DBD(kept=2, agree_above=0.998)) == pytest.approx([0.7, 0.7, 0.0], abs=1e-6)
    assert answer(DBD(kept=2, strength=1.0)) == pytest.approx([0.7, 0.7, 0.0], abs=1e-6)


def test_views_that_do_not_move_leave_the_vector_and_its_gradient_finite() -> None:
    still = PAIR[:, :1].expand(-1, 3, -1).clone().requires_grad_()
    weights = bias(DBD(kept=2)).weighed(still, KEYS[:1]).weights
    assert weights.tolist() == [[0.0, 0.5, 0.5]]
    assert bool(differentiate((weights[..., None] * still).sum((1, 2)), still).isfinite().all())


def test_the_views_of_the_least_entropy_are_kept() -> None:
    views = F.normalize(torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 0.0], [1.0, 0.9, 0.0], [0.0, 1.0, 0.1]]), dim=1)
    vectors = torch.cat([views[1:2], views])[None]
    weights = bias(DBD(kept=2, strength=1.0)).weighed(vectors, KEYS[:1]).weights
    assert weights.tolist() == [[0.0, 0.0, 0.5, 0.0, 0.5]]


def test_three_bits_round_down_nearest_and_up_and_the_published_code_turns_white_to_black() -> None:
    levels = torch.tensor([0.0, 31, 100, 224, 225, 239, 240, 255])
    x = (levels / 255).view(1, 1, 1, -1)
    ours, published = ([255 * each.flatten() for each in rounded_to_levels(x, wrap)] for wrap in (False, True))
    wanted = [[0, 0, 96, 224, 224, 224, 224, 224], [0, 32, 96, 224, 224, 224, 255, 255], [0, 32, 128, 224, *[255] * 4]]
    assert [row.round().int().tolist() for row in ours] == wanted
    assert [int((row == 0).sum()) for row in published] == [2, 3, 5]
    assert bias(DBD(legacy_wrap=True)).views(X, KEYS).shape == (len(X), 32, 3, 64, 64)


def test_the_gate_decides_hard_and_has_a_soft_gradient() -> None:
    over = torch.tensor([-0.01, 0.0, 0.01], requires_grad=True)
    gate = soft_gate(over)
    assert gate.tolist() == [0.0, 0.0, 1.0]
    assert bool((differentiate(gate, over) > 10).all())
    victim, x = Guarded(clip(), SMALL), X[:3].clone().requires_grad_()
    full, past = (
        differentiate(victim.surrogate(x, KEYS[:3], gradient=manner).scores[:, 0, 0], x) for manner in ("full", "bpda")
    )
    assert float((full - past).norm() / past.norm()) > 1e-6


def test_it_costs_a_pass_for_each_view_and_feels_no_neighbor() -> None:
    victim = Guarded(clip(), SMALL)
    with counting() as ledger:
        victim.decide(X, KEYS)
    assert (ledger.forwards, ledger.backwards) == (15 * len(X), 0)
    assert float(coupling(victim, X[:3], KEYS[:3], kept=1).max()) < COUPLED
    assert victim.stochastic and not Guarded(clip(), replace(SMALL, crops=0, noises=0)).stochastic


def test_synthesis_runs_on_it() -> None:
    victim = Guarded(clip(), SMALL)
    through = UntargetedObjective(goal=Untargeted(truth=victim.decide(X[:4], KEYS[:4]).answer), victim=victim)
    found = Synthesis(steps=2, looks=1)(through, X[:4], Threat(eps=16 / 255), KEYS[:4])
    assert int(through(found.x, KEYS[:4]).success.sum()) >= 2


def test_too_few_views_and_models_without_classes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="kept=16 of 9 views"):
        DBD(crops=0, noises=0)
    with pytest.raises(InvalidInput, match="dbd works with the vectors of classes"):
        Guarded(eye(), DBD())
