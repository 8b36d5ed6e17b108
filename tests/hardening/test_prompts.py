"""Prompts trained against attacks: what they withstand, and what is written of them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from secondlook.attacks.pgd import PGD
from secondlook.data import load as load_data
from secondlook.defenses.guarded import Guarded
from secondlook.defenses.test_time.image_tokens import OpenTower
from secondlook.defenses.test_time.learned import learned
from secondlook.defenses.test_time.prompts import OpenPrompt
from secondlook.defenses.test_time.tapt import TAPT, Prompts, statistics
from secondlook.errors import InvalidInput
from secondlook.hardening.prompts import RECIPE, THREAT, Prompted, train_prompts
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.randomness import Keys
from secondlook.scenes.training.loop import Recipe
from secondlook.scenes.training.losses import CrossEntropy
from tests.closeness import same
from tests.defenses.test_time.scenes import KEYS, X, clip

VIT = "scenes:clip-vit"


def silent(done: int, of: int, what: str) -> None:
    """Nobody watches."""


def prompted(kind: str) -> Prompted:
    """Under the prompts of the package, or the words as they are written."""
    embedder, source = clip(VIT).embedder, load_data("scenes:test")
    prompt, tower = OpenPrompt(embedder, source.classes, source.prompt, "tapt"), OpenTower(embedder, 9, "tapt")
    state = learned("prompts", embedder).state
    prompts = Prompts(prompt.start, state["tokens"][:, :0])
    if kind == "trained":
        prompts = Prompts(state["context"], state["tokens"])
        prompts.load_state_dict(state)
    return Prompted(embedder, prompt, tower, prompts.requires_grad_(False))


def test_the_prompts_of_the_package_withstand_more_than_the_written_words() -> None:
    x, truth = load_data("scenes:test?n=224").read(range(200, 224), None)
    losses = []
    for kind in ("trained", "written"):
        network = prompted(kind)
        found = PGD(steps=6)(CrossEntropy(network=network, truth=truth), x, THREAT, Keys.of(0, range(24)))
        losses.append(float(F.cross_entropy(network(found.x), truth)))
        assert float((network(x).argmax(1) == truth).float().mean()) > 0.75, kind
    assert losses[0] < 0.8 * losses[1]


def test_an_attack_moves_the_statistics_from_the_stored_clean_ones_to_the_attacked_ones() -> None:
    """Of so few images they hang on what is in them; what an attack changes of each does not."""
    network = prompted("trained")
    x, truth = load_data("scenes:train").read(range(24), None)
    attacked = PGD(steps=4)(CrossEntropy(network=network, truth=truth), x, THREAT, Keys.of(0, range(24))).x
    moved = statistics(network.layers(attacked)) - statistics(network.layers(x))
    wanted = network.prompts.attacked - network.prompts.clean
    assert float(F.cosine_similarity(moved.flatten(), wanted.flatten(), dim=0)) > 0.5


def test_a_training_leaves_prompts_that_the_defense_reads(tmp_path: Path) -> None:
    recipe = Recipe(steps=2, batch=4, rate=1e-2, decay=0.0, seed=1)
    card = train_prompts(VIT, tmp_path, data="scenes:train?n=70", test="", device="cpu", tick=silent, recipe=recipe)
    assert (card["kind"], card["measured"], card["recipe"]["images"]) == ("prompts", {}, 70)
    embedder = clip(VIT).embedder
    found = learned("prompts", embedder, str(tmp_path / card["name"]))
    written = OpenPrompt(embedder, ("red circle",), "a picture of a {}", "tapt").start
    assert 1e-3 < float((found.state["context"] - written).abs().max()) < 0.03
    mine = TAPT(prompts=str(tmp_path / card["name"]), crops=4, share=0.4)
    told = [Guarded(clip(VIT), each).decide(X[:2], KEYS[:2]).scores for each in (mine, TAPT(crops=4, share=0.4))]
    assert not same(*told) and bool(torch.isfinite(told[0]).all())
    assert not list(tmp_path.glob("*.checkpoint"))


def test_what_prompts_cannot_be_trained_for_is_refused(tmp_path: Path) -> None:
    def train(model: str, data: str = "scenes:train?n=70") -> None:
        train_prompts(model, tmp_path, data=data, test="", device="cpu", tick=silent, recipe=RECIPE)

    with pytest.raises(InvalidInput, match="scenes:classifier is no embedder"):
        train("scenes:classifier")
    with pytest.raises(InvalidInput, match="that of scenes:clip takes none"):
        train("scenes:clip")
    assert isinstance(load(VIT), Embedder)
    with pytest.raises(InvalidInput, match="has a text for each image"):
        train(VIT, "scenes:train?n=4")
