"""From a recipe to a shipped model: train, measure, write weights and card."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from secondlook.progress import Tick
from secondlook.scenes.training.images import load
from secondlook.scenes.training.loop import Training
from secondlook.scenes.training.measure import figures
from secondlook.scenes.training.recipes import class_prompts, recipe_of

MEASURED_ON = 1000


def train(name: str, out: Path, *, device: str, workers: int, tick: Tick) -> dict[str, Any]:
    """Trains ``scenes:NAME`` into ``out/NAME.safetensors`` and ``out/NAME.json``.

    A killed training goes on from ``out/NAME.checkpoint``, which is removed at the end.

    Returns:
        The model card.

    Raises:
        UnknownName: there is no such recipe.
    """
    short, model = name.removeprefix("scenes:"), recipe_of(name)
    scenes = load(model.recipe.seed, "train", model.recipe.images, workers, tick)
    network = model.network().to(device)
    loss = model.objective(network, scenes, device)
    training = Training(network, model.recipe, out / f"{short}.checkpoint")
    training.run(loss, len(scenes), tick)
    before: dict[str, Any] = {}
    if model.tuning is not None:
        before = {"pretraining": asdict(model.recipe)}
        training = Training(network, model.tuning.recipe, out / f"{short}.tuning.checkpoint")
        training.run(model.tuning.objective(network, scenes, device), len(scenes), tick)
    weights = as_shipped(network)
    measured = figures(network, load(0, "test", MEASURED_ON, 1, tick), class_prompts())
    return shelve(training, weights, measured, out / short, {
        "name": f"scenes:{short}",
        "role": model.role,
        "architecture": {"network": type(network).__name__, **model.architecture},
        "data": f"the first {model.recipe.images} scenes of the train split, "
        f"seed {model.recipe.seed}",
        "command": f"secondlook train scenes:{short}",
        "measured_on": f"the first {MEASURED_ON} scenes of the test split, seed 0",
        **before,
    })  # fmt: skip


def as_shipped(network: nn.Module) -> bytes:
    """Makes of the network what a user gets, so that a card's figures are of that; its bytes."""
    halved = {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(halved)
    network.cpu().eval()
    return save(halved)


def shelve(
    training: Training, weights: bytes, measured: dict[str, float], place: Path,
    facts: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Writes weights and card to ``place`` with a suffix each, and removes the checkpoints.

    Returns:
        The card.
    """
    card = {
        **facts,
        "recipe": asdict(training.recipe),
        "parameters": sum(p.numel() for p in training.network.parameters()),
        "measured": {key: round(value, 4) for key, value in measured.items()},
        "licence": "Apache-2.0",
        "torch": torch.__version__,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    place.with_suffix(".safetensors").write_bytes(weights)
    place.with_suffix(".json").write_text(json.dumps(card, indent=2) + "\n")
    for checkpoint in place.parent.glob(f"{place.name}.*checkpoint"):
        checkpoint.unlink()
    return card
