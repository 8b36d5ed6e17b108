"""Objectives on maps: the lead of the hottest pixel outside, its slope, and the cosine."""

import pytest
import torch

from secondlook.attacks.pgd import PGD
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.models.heatmap import find_site
from secondlook.objectives.grounding import LowerCosine, MoveMap
from secondlook.randomness import Keys
from secondlook.tasks.grounding import GroundingTask
from secondlook.threat import Threat
from tests.models.spots import RED, Window, spot


def test_the_loss_of_moving_a_map_is_the_lead_of_the_hottest_pixel_outside() -> None:
    model, x = Window(), spot(0, 0, n=2)
    home, away = [0, 0, 0.25, 0.25], [0.5, 0.5, 0.25, 0.25]
    goal = MoveMap(
        model=model, vectors=RED.expand(2, -1), boxes=torch.tensor([home, away]), site=find_site(model, x[0])
    )
    evaluation = goal(x, Keys.of(0, "ab"))
    assert evaluation.success.tolist() == [False, True]
    assert -2 <= evaluation.loss[0] < 0 < evaluation.loss[1] <= 2
    single = goal.take(torch.tensor([1]))(x[1:], Keys.of(0, "b"))
    assert torch.allclose(single.loss, evaluation.loss[1:]) and bool(single.success)


@pytest.mark.parametrize("name", ["scenes:clip", "scenes:clip-vit"])
def test_the_gradient_of_moving_a_map_is_its_slope(name: str) -> None:
    model, task = load(name), GroundingTask(samples=3).open()
    assert isinstance(model, Embedder)
    batch = task.read(range(3), (64, 64))
    goal = task.map_objective(batch, model, "map")
    x = batch.pairs.images.clamp(0.02, 0.98).double().float().requires_grad_()
    (gradient,) = torch.autograd.grad(goal(x, batch.keys).loss.sum(), x)
    step = 2e-3 * gradient / gradient.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    ahead, back = (goal((x + way * step).detach(), batch.keys).loss.sum() for way in (1, -1))
    rise = ahead - back
    wanted = 4e-3 * gradient.flatten(1).norm(dim=1).sum()
    assert float(rise.detach()) > 0.4 * float(wanted) > 0


def test_the_cosine_is_lowered() -> None:
    """Of colors seen linearly: the loss is minus the cosine, and the optimum a corner."""
    goal = LowerCosine(model=Window(), vectors=RED.expand(2, -1))
    x = torch.tensor([[0.5, 0.2, 0.1], [0.1, 0.2, 0.5]])[:, :, None, None].expand(2, 3, 4, 4)
    evaluation, keys = goal(x, Keys.of(0, "ab")), Keys.of(0, "ab")
    wanted = [-c[0] / sum(v * v for v in c) ** 0.5 for c in ((0.5, 0.2, 0.1), (0.1, 0.2, 0.5))]
    assert evaluation.loss.tolist() == pytest.approx(wanted, abs=1e-6) and not evaluation.success.any()
    assert goal.take(torch.tensor([1]))(x[1:], keys[1:]).loss.tolist() == pytest.approx(wanted[1:])
    found = PGD(steps=8)(goal, x.contiguous(), Threat.parse("linf", "8/255"), keys).x
    step = torch.tensor([-8.0, 8, 8]).view(1, 3, 1, 1) / 255
    assert torch.allclose(found, ((x + step) * 255).round() / 255, atol=1.1 / 255)
