"""The diagnosis tells a masked gradient from an honest one, by what is measured and by nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from secondlook.attacks.diagnosis import Measurements, diagnosed
from secondlook.attacks.synthesis import Synthesis
from secondlook.defenses.base import Defense
from secondlook.defenses.consensus import Consensus
from secondlook.ledger import counting
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.randomness import Keys
from tests.against import Line, line
from tests.attacks.test_synthesis import Cut, Steep, behind

SHORT = Synthesis(steps=8)


@dataclass(frozen=True, kw_only=True)
class Identity(Defense):
    """Hands on the image itself, gradient and all."""

    def transform(self, x: Tensor, keys: Keys) -> Tensor:
        return x * 1.0


def found(on: Line, defense: Defense, attack: Synthesis = SHORT) -> Measurements:
    made = diagnosed(behind(on, defense), on.clean, on.threat, on.keys, attack)
    assert made is not None
    return made


def test_all_manners_of_an_honest_defense_agree_and_reach_the_closed_form() -> None:
    on = line(2, "linf", 12)
    made = found(on, Identity())
    assert list(made.manners) == ["bare", "as-is", "straight-through"]
    for name, each in made.manners.items():
        assert torch.equal(~each.success, on.robust), name
        assert each.size is not None
        assert torch.allclose(each.size, torch.ones_like(each.size))
    for cosines in made.cosines.values():
        assert torch.allclose(cosines, torch.ones_like(cosines))
    for each in made.differences.values():
        assert torch.allclose(each.measured, each.by_gradient.double(), rtol=1e-2)
        assert torch.allclose(each.by_gradient, each.bare)
    # The bare search does not stop early, and its end is the corner x + eps * sign(w).
    weights = on.objective.victim.model.weights  # type: ignore[attr-defined]
    steep = (weights[1] - weights[0]).flatten().abs().sum()
    bare = made.manners["bare"]
    assert torch.allclose(bare.rise, on.threat.eps * steep.expand(12), rtol=0.1)


def test_a_gradient_of_next_to_nothing_is_seen() -> None:
    on = line(5, "linf", 12)
    made = found(on, Steep())
    own = made.manners["as-is"].size
    assert own is not None and bool((own < 1e-12).all()) and bool((own > 0).all())
    along = made.differences["bare"]
    assert torch.allclose(along.measured, along.bare.double(), rtol=1e-2), "the loss moves as the bare model's does"
    assert bool((along.by_gradient.abs() < 1e-9 * along.measured.abs()).all()), "and the gradient does not say so"


def test_where_there_is_no_gradient_it_is_zero_and_the_slope_is_there() -> None:
    on = line(5, "linf", 12)
    made = found(on, Cut())
    assert "as-is" not in made.manners
    assert "no gradient" in made.refused["as-is"]
    along = made.differences["bare"]
    assert not bool(along.by_gradient.any())
    assert torch.allclose(along.measured, along.bare.double(), rtol=1e-2)
    assert not bool((made.manners["bare"].success & on.robust).any())


def test_a_flat_answer_is_honest() -> None:
    """An answer that nothing moves has no slope, and nobody hides any."""

    @dataclass(frozen=True, kw_only=True)
    class Constant(Defense):
        def transform(self, x: Tensor, keys: Keys) -> Tensor:
            return x * 0.0 + 0.5

    on = line(5, "linf", 6)
    along = found(on, Constant()).differences["bare"]
    assert not bool(along.measured.any())
    assert not bool(along.by_gradient.any())


def test_the_full_budget_tries_draws_and_queries() -> None:
    on = line(3, "linf", 4)
    full = Synthesis(steps=2, budget="full", queries=5, looks=2)
    made = found(on, Consensus(purifier=NoisePurifier(0.05)), full)
    assert {"bare", "as-is", "recorded draws", "16 draws", "queries"} <= set(made.manners)
    assert made.manners["queries"].size is None
    assert made.refused["gate taken away"] == "nothing is ever rejected"


def test_what_a_diagnosis_costs() -> None:
    """Of each sample: 3 searches of 8 steps, their ends judged, 6 gradients, 4 evaluations, and the clean loss."""
    on = line(5, "linf", 12)
    with counting() as ledger:
        found(on, Steep())
    assert ledger.forwards <= 12 * (3 * (1 + 8 + 1 + 1) + 6 + 4 + 1)
    assert ledger.backwards <= 12 * (3 * 8 + 6)


def test_who_is_beside_a_sample_changes_nothing() -> None:
    on = line(5, "linf", 8)
    objective = behind(on, Consensus(purifier=NoisePurifier(0.05)))
    rows = torch.tensor([6, 1])
    whole = diagnosed(objective, on.clean, on.threat, on.keys, SHORT)
    part = diagnosed(objective.take(rows), on.clean[rows], on.threat, on.keys[rows], SHORT)
    assert whole is not None and part is not None
    for name, each in part.manners.items():
        assert torch.equal(each.success, whole.manners[name].success[rows])
        assert each.rise.tolist() == pytest.approx(whole.manners[name].rise[rows].tolist(), rel=1e-4, abs=1e-5)


def test_nothing_stands_before_a_bare_model() -> None:
    on = line(3, "linf", 4)
    assert diagnosed(on.objective, on.clean, on.threat, on.keys, SHORT) is None
