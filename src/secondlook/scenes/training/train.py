"""Recipes of the embedded world's models, and the way from a recipe to weights and card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save
from torch import Tensor, nn

from secondlook.drafts import write_atomic
from secondlook.errors import UnknownName
from secondlook.progress import Tick
from secondlook.scenes.captions import PROMPT, class_names
from secondlook.scenes.models.captioner import CaptionerNetwork
from secondlook.scenes.models.classifier import ClassifierNetwork
from secondlook.scenes.models.clip import ClipNetwork
from secondlook.scenes.models.masked_lm import MaskedLmNetwork
from secondlook.scenes.models.painter import PainterNetwork
from secondlook.scenes.models.purifiers import AutoencoderNetwork, DenoiserNetwork
from secondlook.scenes.tokenizer import Tokenizer
from secondlook.scenes.training.dataset import SceneSet, render_scenes
from secondlook.scenes.training.loop import Loss, Recipe, Training
from secondlook.scenes.training.losses import (
    adversarial_loss,
    autoencoder_loss,
    classification_loss,
    contrastive_loss,
    denoising_loss,
    restoration_loss,
)
from secondlook.scenes.training.measure import figures
from secondlook.scenes.training.painter import STYLE_SIZE, painting_loss, styled_painting_loss
from secondlook.scenes.training.text_losses import captioning_loss, masked_lm_loss

Role = Literal["embedder", "classifier", "purifier", "masked language model", "captioner", "painter"]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A second training of the same network, to another end."""

    objective: Callable[[Any, SceneSet, str], Loss]
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """What to build and how to train it; ``architecture`` goes into the card."""

    role: Role
    build: Callable[..., Any]
    architecture: dict[str, Any]
    objective: Callable[[Any, SceneSet, str], Loss]
    recipe: Recipe
    tuning: Tuning | None = None

    def network(self) -> nn.Module:
        """A fresh network under the recipe's seed; the global generator is left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.recipe.seed)  # noqa: TID251 - forked, and put back
            network: nn.Module = self.build(**self.architecture)
        return network


def class_prompts() -> Tensor:
    """Token ids of the 64 class prompts, ``[64, L]``."""
    names = [PROMPT.format(name) for name in class_names()]
    return torch.from_numpy(Tokenizer().encode(names))


def _contrastive_loss(network: ClipNetwork, scenes: SceneSet, device: str) -> Loss:
    return contrastive_loss(network, scenes, class_prompts(), device)


def _masked_lm_loss(network: MaskedLmNetwork, scenes: SceneSet, device: str) -> Loss:
    return masked_lm_loss(network, scenes, class_prompts(), device)


def _painting_loss(network: PainterNetwork, scenes: SceneSet, device: str) -> Loss:
    return painting_loss(network, scenes, class_prompts(), device)


def _autoencoder_loss(network: AutoencoderNetwork, scenes: SceneSet, device: str) -> Loss:
    return autoencoder_loss(network, scenes, device, divergence=1e-3)


def _plain_autoencoder_loss(network: AutoencoderNetwork, scenes: SceneSet, device: str) -> Loss:
    return autoencoder_loss(network, scenes, device, divergence=1e-3, plain=True)


def _clip(tower: str, recipe: Recipe) -> ModelRecipe:
    architecture = {"tower": tower, "vocabulary": Tokenizer().size, "dim": 256}
    return ModelRecipe(
        role="embedder", build=ClipNetwork, architecture=architecture,
        objective=_contrastive_loss, recipe=recipe,
    )  # fmt: skip


def _small_clip(tower: str, recipe: Recipe) -> ModelRecipe:
    architecture = {"tower": tower, "vocabulary": Tokenizer().size, "dim": 96, "words": 64}
    return ModelRecipe(
        role="embedder", build=ClipNetwork, architecture=architecture,
        objective=_contrastive_loss, recipe=recipe,
    )  # fmt: skip


def _autoencoder(variational: bool, recipe: Recipe, *, plain: bool = False) -> ModelRecipe:
    return ModelRecipe(
        role="purifier", build=AutoencoderNetwork, architecture={"variational": variational},
        objective=_plain_autoencoder_loss if plain else _autoencoder_loss, recipe=recipe,
    )  # fmt: skip


def _denoiser(recipe: Recipe, tuned: Recipe) -> ModelRecipe:
    return ModelRecipe(
        role="purifier", build=DenoiserNetwork, architecture={},
        objective=denoising_loss, recipe=recipe,
        tuning=Tuning(objective=restoration_loss, recipe=tuned),
    )  # fmt: skip


def _masked_lm(recipe: Recipe) -> ModelRecipe:
    architecture = {"vocabulary": Tokenizer().size + 1}
    return ModelRecipe(
        role="masked language model", build=MaskedLmNetwork, architecture=architecture,
        objective=_masked_lm_loss, recipe=recipe,
    )  # fmt: skip


def _captioner(recipe: Recipe) -> ModelRecipe:
    return ModelRecipe(
        role="captioner", build=CaptionerNetwork, architecture={"vocabulary": Tokenizer().size},
        objective=captioning_loss, recipe=recipe,
    )  # fmt: skip


def _styled_painting_loss(network: PainterNetwork, scenes: SceneSet, device: str) -> Loss:
    return styled_painting_loss(network, scenes, class_prompts(), device)


def _painter(recipe: Recipe, tuned: Recipe) -> ModelRecipe:
    return ModelRecipe(
        role="painter", build=PainterNetwork,
        architecture={"vocabulary": Tokenizer().size, "style": STYLE_SIZE},
        objective=_painting_loss, recipe=recipe,
        tuning=Tuning(objective=_styled_painting_loss, recipe=tuned),
    )  # fmt: skip


def _classifier(objective: Callable[..., Loss], recipe: Recipe) -> ModelRecipe:
    return ModelRecipe(
        role="classifier", build=ClassifierNetwork,
        architecture={"classes": len(class_names())}, objective=objective, recipe=recipe,
    )  # fmt: skip


PLAIN = Recipe(steps=900, batch=48, images=8000, seed=13, average=0.98)
"""Short: without corruption there is little more to learn than to copy."""


def recipes() -> dict[str, ModelRecipe]:
    """All recipes by the name after ``scenes:``."""
    return {
        "clip": _clip("conv", Recipe(steps=1100, seed=1)),
        "clip-vit": _clip("vit", Recipe(steps=1800, batch=192, rate=1.5e-3, seed=2)),
        "classifier": _classifier(classification_loss, Recipe(steps=800, seed=6, average=0.99)),
        "classifier-at": _classifier(adversarial_loss, Recipe(steps=1500, seed=7, average=0.995)),
        "ae": _autoencoder(False, Recipe(steps=2000, batch=96, seed=3, average=0.995)),
        "vae": _autoencoder(True, Recipe(steps=2000, batch=96, seed=4, average=0.995)),
        "ae-plain": _autoencoder(False, PLAIN, plain=True),
        "vae-plain": _autoencoder(True, replace(PLAIN, seed=14), plain=True),
        "mlm": _masked_lm(Recipe(steps=2000, batch=64, rate=3e-3, seed=8, images=8000)),
        "captioner": _captioner(Recipe(steps=3000, batch=64, seed=9, images=20_000, average=0.995)),
        "clip-narrow": _small_clip("narrow", Recipe(steps=1100, batch=192, seed=11)),
        "clip-mixer": _small_clip("mixer", Recipe(steps=1300, batch=192, seed=12)),
        "painter": _painter(
            Recipe(steps=3200, batch=48, seed=10, images=20_000, average=0.997),
            Recipe(steps=2400, batch=48, seed=20, images=20_000, average=0.997),
        ),
        "diffusion": _denoiser(
            Recipe(steps=5000, batch=64, rate=1e-3, seed=5, average=0.998),
            Recipe(steps=7500, batch=64, rate=1e-3, seed=15, average=0.995, cycles=3),
        ),
    }


def recipe_of(name: str) -> ModelRecipe:
    """The recipe under ``name``, with or without the prefix ``scenes:``.

    Raises:
        UnknownName: there is none.
    """
    known = recipes()
    short = name.removeprefix("scenes:")
    if short not in known:
        raise UnknownName("recipe", name, [f"scenes:{known_name}" for known_name in (*known, *SOUNDS)])
    return known[short]


MEASURED_ON = 1000
SOUNDS = ("bind", "sound-vae")
"""Models of sounds, which :mod:`secondlook.scenes.training.sounds` trains."""


def train(name: str, out: Path, *, device: str, workers: int, tick: Tick) -> dict[str, Any]:
    """Trains ``scenes:NAME`` into ``out/NAME.safetensors`` and ``out/NAME.json``.

    A killed training goes on from ``out/NAME.checkpoint``, which is removed at the end.

    Returns:
        The model card.

    Raises:
        UnknownName: there is no such recipe.
    """
    short, model = name.removeprefix("scenes:"), recipe_of(name)
    scenes = render_scenes(model.recipe.seed, "train", model.recipe.images, workers, tick)
    network = model.network().to(device)
    loss = model.objective(network, scenes, device)
    training = Training(network, model.recipe, out / f"{short}.checkpoint")
    training.run(loss, len(scenes), tick)
    before: dict[str, Any] = {}
    if model.tuning is not None:
        before = {"pretraining": asdict(model.recipe)}
        training = Training(network, model.tuning.recipe, out / f"{short}.tuning.checkpoint")
        training.run(model.tuning.objective(network, scenes, device), len(scenes), tick)
    weights = round_to_half(network)
    measured = figures(network, render_scenes(0, "test", MEASURED_ON, 1, tick), class_prompts())
    return write_model(training, weights, measured, out / short, {
        "name": f"scenes:{short}",
        "role": model.role,
        "architecture": {"network": type(network).__name__, **model.architecture},
        "data": f"the first {model.recipe.images} scenes of the train split, "
        f"seed {model.recipe.seed}",
        "command": f"secondlook train scenes:{short}",
        "measured_on": f"the first {MEASURED_ON} scenes of the test split, seed 0",
        **before,
    })  # fmt: skip


def round_to_half(network: nn.Module) -> bytes:
    """Makes of the network what a user gets, so that a card's figures are of that; its bytes."""
    halved = {
        name: (value.half() if value.is_floating_point() else value).cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(halved)
    network.cpu().eval()
    return save(halved)


def write_model(
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
        "license": "Apache-2.0",
        "torch": torch.__version__,
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    write_atomic(place.with_suffix(".safetensors"), weights)
    write_atomic(place.with_suffix(".json"), f"{json.dumps(card, indent=2)}\n".encode())
    for checkpoint in place.parent.glob(f"{place.name}.*checkpoint"):
        checkpoint.unlink()
    return card
