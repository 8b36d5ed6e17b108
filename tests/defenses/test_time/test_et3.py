"""ET3 sharpens the winner of a linear model, within its ball, and unrolls."""

from __future__ import annotations

import pytest
import torch

from secondlook.attacks.base import differentiate
from secondlook.attacks.synthesis import Synthesis
from secondlook.defenses.coupling import COUPLED, coupling
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.et3 import ET3, LowerEnergy
from secondlook.errors import InvalidInput
from secondlook.ledger import counting
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.threat import Threat
from tests.analytic import LinearClassifier, directions, images
from tests.defenses.test_time.scenes import KEYS, X, clip
from tests.tiny import eye


def energy(guarded: Guarded) -> LowerEnergy:
    assert isinstance(guarded.adaptation, LowerEnergy)
    return guarded.adaptation


def test_a_linear_model_is_moved_along_its_classes_each_as_much_as_it_is_believed() -> None:
    model, x = LinearClassifier(directions(3)), images(8)
    victim = Guarded(model, ET3(steps=1, step=0.1, norm="l2", eps=1.0))
    along = torch.einsum("bk,kchw->bchw", model(x).softmax(1), model.weights)
    moved = energy(victim).counter(x, KEYS).detach() - x
    assert torch.allclose(moved, 0.1 * along / along.flatten(1).norm(dim=1).view(-1, 1, 1, 1), atol=1e-6)
    before, after = model(x), victim.decide(x, KEYS).scores
    assert torch.equal(before.argmax(1), after.argmax(1))
    assert bool((after.softmax(1).amax(1) > before.softmax(1).amax(1)).all())


@pytest.mark.parametrize(("norm", "eps"), [("linf", 2 / 255), ("l2", 0.3)])
def test_it_stays_in_its_ball_and_in_the_cube(norm: str, eps: float) -> None:
    seen = energy(Guarded(clip(), ET3(norm=norm, eps=eps))).counter(X, KEYS).detach()  # type: ignore[arg-type]
    change = (seen - X).flatten(1)
    size = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
    assert float(size.max()) <= eps + 1e-6 and float(size.median()) > 0.9 * eps
    assert float(seen.min()) >= 0 and float(seen.max()) <= 1


def test_the_gradient_is_that_of_the_whole_loop_and_not_of_going_past_it() -> None:
    victim = Guarded(clip(), ET3(step=0.5))
    x, towards = (
        (X[:2] * 0.8 + 0.1).requires_grad_(),
        torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)),
    )
    step = 1e-3 * towards
    sharp = torch.float64

    def score(at: torch.Tensor) -> torch.Tensor:
        return victim.surrogate(at, KEYS[:2]).scores[:, 0, 0].to(sharp)

    change = (score(x + step) - score(x - step)).detach() / 2e-3
    full = (differentiate(score(x), x) * towards).flatten(1).sum(1).to(sharp)
    past = differentiate(victim.surrogate(x, KEYS[:2], gradient="bpda").scores[:, 0, 0], x)
    assert torch.allclose(full, change, rtol=0.1, atol=5e-3)
    assert not torch.allclose((past * towards).flatten(1).sum(1).to(sharp), change, rtol=0.1, atol=5e-3)


def test_it_costs_three_forwards_and_two_backwards_and_feels_no_neighbor() -> None:
    victim = Guarded(clip(), ET3())
    with counting() as ledger:
        victim.decide(X, KEYS)
    assert (ledger.forwards, ledger.backwards) == (3 * len(X), 2 * len(X))
    assert float(coupling(victim, X[:3], KEYS[:3], kept=1).max()) < COUPLED
    assert not victim.stochastic


def test_synthesis_runs_on_it() -> None:
    victim = Guarded(clip(), ET3())
    through = UntargetedObjective(goal=Untargeted(truth=victim.decide(X[:4], KEYS[:4]).answer), victim=victim)
    found = Synthesis(steps=2)(through, X[:4], Threat(eps=16 / 255), KEYS[:4])
    assert int(through(found.x, KEYS[:4]).success.sum()) >= 2


def test_models_without_classes_and_other_norms_are_refused() -> None:
    with pytest.raises(InvalidInput, match="et3 works with the scores of classes"):
        Guarded(eye(), ET3())
    with pytest.raises(InvalidInput, match="norm='l1'"):
        ET3(norm="l1")  # type: ignore[arg-type]
