"""Training of the embedded world's classifiers: the loop, its resume, and the attack inside."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from secondlook.attacks.pgd import PGD
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.randomness import Keys
from secondlook.scenes.family import Scenes
from secondlook.scenes.models.classifier import ClassifierNetwork, SceneClassifier
from secondlook.scenes.source import render_batch
from secondlook.scenes.training import train as training
from secondlook.scenes.training.dataset import SceneSet
from secondlook.scenes.training.loop import Loss, Recipe, Training
from secondlook.scenes.training.losses import INNER, THREAT, CrossEntropy, adversarial_loss, classification_loss
from secondlook.scenes.training.measure import classifier_figures
from secondlook.scenes.training.train import recipes

RECIPE = Recipe(steps=4, batch=6, rate=1e-3, images=24, seed=1, average=0.9)
OBJECTIVES = {"classifier": classification_loss, "classifier-at": adversarial_loss}


@pytest.fixture(scope="module")
def scenes() -> SceneSet:
    found = render_batch(1, "train", range(24))
    return SceneSet(
        pixels=torch.from_numpy(found.images).permute(0, 3, 1, 2).contiguous(),
        captions=torch.zeros(24, 5, 4, dtype=torch.long),
        labels=torch.from_numpy(found.labels),
    )


def network() -> ClassifierNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ClassifierNetwork(classes=64, width=4, dim=8)


def silent(done: int, of: int, what: str) -> None:
    """Nobody watches."""


def state(module: nn.Module) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in module.state_dict().items()}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, other[key]) for key, value in one.items())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_killed_training_ends_where_an_uninterrupted_one_does(name: str, scenes: SceneSet, tmp_path: Path) -> None:
    def run(folder: str, kill: int) -> dict[str, Tensor]:
        fresh = network()
        whole = Training(fresh, RECIPE, tmp_path / folder / "n.checkpoint")
        loss = OBJECTIVES[name](fresh, scenes, "cpu")
        whole.run(dying(loss, kill), len(scenes), silent, every=2)
        return state(fresh)

    uninterrupted = run("a", kill=-1)
    with pytest.raises(KeyboardInterrupt):
        run("b", kill=3)
    assert same(run("b", kill=-1), uninterrupted)
    assert not same(uninterrupted, state(network()))


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.checkpoint"
    Training(network(), RECIPE, path, data="one").save()
    assert Training(network(), RECIPE, path, data="one").step == 0
    for recipe, data in ((RECIPE, "other"), (replace(RECIPE, rate=1e-5), "one")):
        with pytest.raises(
            InvalidInput, match="is of a training with other settings or data; remove it to begin again"
        ):
            Training(network(), recipe, path, data=data)
    with pytest.raises(InvalidInput, match="holds the state of another training"):
        Training(nn.Linear(2, 2), RECIPE, path, data="one")


def dying(loss: Loss, step: int) -> Loss:
    """The same loss until it is asked for the ``step``-th time."""
    asked = 0

    def called(rows: Tensor, generator: torch.Generator) -> Tensor:
        nonlocal asked
        if asked == step:
            raise KeyboardInterrupt
        asked += 1
        return loss(rows, generator)

    return called


def test_the_inner_attack_leaves_gradients_statistics_and_modes_alone(scenes: SceneSet) -> None:
    under = network().train()
    under.trunk[0].eval()
    for parameter in under.parameters():
        parameter.grad = torch.full_like(parameter, 7.0)
    before, modes = state(under), [part.training for part in under.modules()]
    x, truth = scenes.images(torch.arange(8)), scenes.labels[:8]
    INNER(CrossEntropy(network=under, truth=truth), x, THREAT, Keys.of(0, range(8)))
    assert all(bool((p.grad == 7).all()) for p in under.parameters())
    assert same(state(under), before)
    assert [part.training for part in under.modules()] == modes


def test_it_learns_from_what_the_attack_made_within_the_radius(scenes: SceneSet) -> None:
    under, rows, seen = network().train(), torch.arange(8), list[Tensor]()
    loss = adversarial_loss(under, scenes, "cpu", PGD(steps=2, step=6 / 255, keep_best=False))
    under.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach()) if module.training else None)
    loss(rows, torch.Generator().manual_seed(0)).backward()
    (attacked,) = seen
    away = (attacked - scenes.images(rows)).abs().amax((1, 2, 3))
    assert float(away.max()) <= THREAT.eps + 1e-6
    assert float(away.min()) > THREAT.eps / 2
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in under.parameters())


def test_the_attack_inside_makes_the_loss_larger(scenes: SceneSet) -> None:
    rows = torch.arange(24)
    under = load("scenes:classifier").network
    clean, attacked = (
        float(make(under, scenes, "cpu")(rows, torch.Generator().manual_seed(0))) for make in OBJECTIVES.values()
    )
    assert attacked > clean + 1


def test_the_same_generator_makes_the_same_loss(scenes: SceneSet) -> None:
    losses = [
        float(adversarial_loss(network(), scenes, "cpu")(torch.arange(8), torch.Generator().manual_seed(seed)).detach())
        for seed in (3, 3, 4)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_a_network_that_looks_at_nothing_is_as_good_under_attack(scenes: SceneSet) -> None:
    """Its top-1 is the share of the class that its bias prefers, attacked or not."""
    blind = network().eval()
    favorite = int(scenes.labels[0])
    with torch.no_grad():
        blind.head.weight.zero_()
        blind.head.bias.zero_()
        blind.head.bias[favorite] = 1
    share = float((scenes.labels == favorite).float().mean())
    assert classifier_figures(blind, scenes) == pytest.approx({"top1": share, "pgd20_top1_8_255": share})


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Shrinks a recipe to three steps of a small network, and its measurement to eight scenes."""

    def shrink(name: str) -> None:
        model = recipes()[name]
        short = replace(
            model, recipe=replace(RECIPE, steps=3), architecture={**model.architecture, "width": 4, "dim": 8}
        )
        monkeypatch.setattr(training, "recipe_of", lambda _: short)
        monkeypatch.setattr(training, "MEASURED_ON", 8)

    return shrink


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_was_trained_is_read_again(name: str, tmp_path: Path, tiny: Callable[[str], None]) -> None:
    tiny(name)
    card: dict[str, Any] = training.train(f"scenes:{name}", tmp_path, device="cpu", workers=1, tick=silent)
    assert sorted(file.name for file in tmp_path.iterdir()) == [f"{name}.json", f"{name}.safetensors"]
    assert card["role"] == "classifier"
    assert card["command"] == f"secondlook train scenes:{name}"
    assert set(card["measured"]) == {"top1", "pgd20_top1_8_255"}
    model = Scenes(name=name, weights=tmp_path).load()
    assert isinstance(model, SceneClassifier)
    assert model(torch.full((1, 3, 64, 64), 0.5)).shape == (1, 64)
