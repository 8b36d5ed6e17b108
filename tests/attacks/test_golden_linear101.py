"""A linear model over 101 classes: its closed form, and what a reference implementation made of it.

The images lie between the 8-bit levels, so that it is the search which is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from secondlook.attacks.apgd import APGD
from secondlook.attacks.autoattack import AutoAttack
from secondlook.attacks.base import Attack, input_gradient
from secondlook.attacks.class_objective import ClassLoss, Loss
from secondlook.defenses.guarded import Guarded
from secondlook.models.logits import LogitClassifier
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.threat import Threat

THREAT, KEYS = Threat(eps=8 / 255), Keys.of(0, range(64))


@dataclass(frozen=True)
class Golden:
    """The numbers, and the objective they belong to."""

    objective: UntargetedObjective
    clean: Tensor
    stored: dict[str, Tensor]

    @property
    def robust(self) -> Tensor:
        """Who cannot be fooled by anybody."""
        return self.stored["outputs.exact_robust"].bool()

    def left(self, attack: Attack) -> Tensor:
        """Who is not fooled by this attack."""
        x = THREAT.project(attack.search(self.objective, self.clean, THREAT, KEYS).x, self.clean)
        THREAT.check(x, self.clean)
        return ~self.objective(x, KEYS).success


@pytest.fixture(scope="module")
def golden(shared: Path) -> Golden:
    stored = load_file(shared / "golden" / "apgd_linear101.safetensors")
    weight, bias = stored["weights.fc.weight"], stored["weights.fc.bias"]
    model = LogitClassifier("linear101", lambda x: x.flatten(1) @ weight.T + bias, [str(k) for k in range(101)])
    goal = Untargeted(truth=stored["inputs.y"])
    objective = UntargetedObjective(goal=goal, victim=Guarded(model))
    return Golden(objective, stored["inputs.x"].float(), stored)


@pytest.mark.parametrize(
    ("name", "loss", "steps"), [("apgd_ce_20", "ce", 20), ("apgd_ce_100", "ce", 100), ("apgd_dlr_100", "dlr", 100)]
)
def test_from_the_clean_image_each_step_is_the_references(golden: Golden, name: str, loss: Loss, steps: int) -> None:
    objective = ClassLoss(objective=golden.objective, loss=loss)
    attack = APGD(steps=steps)
    state = attack.start(torch.arange(64), golden.clean, THREAT, KEYS, torch.zeros(64, dtype=torch.long))
    state.x, state.best_x = golden.clean.clone(), golden.clean.clone()
    losses, success = [], torch.zeros(64, dtype=torch.bool)
    for _ in range(steps + 1):
        attack.take_step(state, golden.clean, THREAT)
        gradient, evaluation = input_gradient(objective, state.x, KEYS)
        losses.append(evaluation.loss)
        success |= evaluation.success
        attack.update(state, evaluation.loss, gradient)
        attack.checkpoint(state, golden.clean, THREAT)
    stored = golden.stored
    best = stored[f"outputs.det_{name}.loss_best"]
    # DLR divides by what may be next to nothing, and then a rounding of the product is felt.
    assert int((~torch.isclose(state.best, best, rtol=1e-2, atol=0.02)).sum()) <= (loss == "dlr")
    assert torch.allclose(state.best, best, rtol=5e-2, atol=0.02)
    robust = stored[f"outputs.det_{name}.robust"].bool()
    assert torch.equal(~success, robust)
    if f"outputs.det_{name}.loss_trace" in stored:
        early = stored[f"outputs.det_{name}.loss_trace"][:4]
        assert torch.allclose(torch.stack(losses[:4]), early, rtol=1e-3)


@pytest.mark.parametrize("steps", [20, 100])
def test_cross_entropy_alone_leaves_no_more_than_the_references(golden: Golden, steps: int) -> None:
    left = golden.left(APGD(steps=steps))
    reference = golden.stored[f"outputs.apgd_ce_{steps}.bs64.robust"].bool()
    assert int(left.sum()) <= 42
    assert int((left != reference).sum()) <= 2
    assert bool(left[golden.robust].all())


@pytest.mark.parametrize(
    "attack",
    [
        APGD(loss="dlr"),
        APGD(targets=9, steps=25),
        AutoAttack(steps=25, queries=10),
        AutoAttack(version="fast", check=0),
    ],
    ids=["apgd-dlr", "apgd-t", "autoattack", "fast"],
)
def test_the_closed_form_is_reached_in_few_steps(golden: Golden, attack: Attack) -> None:
    assert torch.equal(golden.left(attack), golden.robust)


@pytest.mark.slow
@pytest.mark.parametrize("attack", [APGD(targets=9), AutoAttack(queries=100)], ids=["apgd-t", "autoattack"])
def test_and_in_the_published_number_of_them(golden: Golden, attack: Attack) -> None:
    assert torch.equal(golden.left(attack), golden.robust)
