"""One recipe for each model of the embedded world: network, objective, length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from secondlook.errors import UnknownName
from secondlook.scenes.captions import PROMPT, class_names
from secondlook.scenes.networks.autoencoder import AutoencoderNetwork
from secondlook.scenes.networks.captioner import CaptionerNetwork
from secondlook.scenes.networks.classifier import ClassifierNetwork
from secondlook.scenes.networks.clip import ClipNetwork
from secondlook.scenes.networks.denoiser import DenoiserNetwork
from secondlook.scenes.networks.masked_lm import MaskedLmNetwork
from secondlook.scenes.networks.painter import PainterNetwork
from secondlook.scenes.styling import STYLE
from secondlook.scenes.tokenizer import Tokenizer
from secondlook.scenes.training.adversarial import hardening
from secondlook.scenes.training.cloze import filling
from secondlook.scenes.training.images import SceneSet
from secondlook.scenes.training.loop import Loss, Recipe
from secondlook.scenes.training.objectives import (
    autoencoding,
    classifying,
    contrastive,
    denoising,
    restoring,
)
from secondlook.scenes.training.painting import painting, posing
from secondlook.scenes.training.telling import telling

Role = Literal[
    "embedder", "classifier", "purifier", "masked language model", "captioner", "painter"
]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """A second training of the same network, to another end."""

    objective: Callable[[Any, SceneSet, str], Loss]
    recipe: Recipe


@dataclass(frozen=True, kw_only=True)
class Model:
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


def _contrastive(network: ClipNetwork, scenes: SceneSet, device: str) -> Loss:
    return contrastive(network, scenes, class_prompts(), device)


def _filling(network: MaskedLmNetwork, scenes: SceneSet, device: str) -> Loss:
    return filling(network, scenes, class_prompts(), device)


def _painting(network: PainterNetwork, scenes: SceneSet, device: str) -> Loss:
    return painting(network, scenes, class_prompts(), device)


def _autoencoding(network: AutoencoderNetwork, scenes: SceneSet, device: str) -> Loss:
    return autoencoding(network, scenes, device, divergence=1e-3)


def _clip(tower: str, recipe: Recipe) -> Model:
    architecture = {"tower": tower, "vocabulary": Tokenizer().size, "dim": 256}
    return Model(
        role="embedder", build=ClipNetwork, architecture=architecture,
        objective=_contrastive, recipe=recipe,
    )  # fmt: skip


def _eye(tower: str, recipe: Recipe) -> Model:
    architecture = {"tower": tower, "vocabulary": Tokenizer().size, "dim": 96, "words": 64}
    return Model(
        role="embedder", build=ClipNetwork, architecture=architecture,
        objective=_contrastive, recipe=recipe,
    )  # fmt: skip


def _autoencoder(variational: bool, recipe: Recipe) -> Model:
    return Model(
        role="purifier", build=AutoencoderNetwork, architecture={"variational": variational},
        objective=_autoencoding, recipe=recipe,
    )  # fmt: skip


def _denoiser(recipe: Recipe, tuned: Recipe) -> Model:
    return Model(
        role="purifier", build=DenoiserNetwork, architecture={},
        objective=denoising, recipe=recipe, tuning=Tuning(objective=restoring, recipe=tuned),
    )  # fmt: skip


def _masked_lm(recipe: Recipe) -> Model:
    architecture = {"vocabulary": Tokenizer().size + 1}
    return Model(
        role="masked language model", build=MaskedLmNetwork, architecture=architecture,
        objective=_filling, recipe=recipe,
    )  # fmt: skip


def _captioner(recipe: Recipe) -> Model:
    return Model(
        role="captioner", build=CaptionerNetwork, architecture={"vocabulary": Tokenizer().size},
        objective=telling, recipe=recipe,
    )  # fmt: skip


def _posing(network: PainterNetwork, scenes: SceneSet, device: str) -> Loss:
    return posing(network, scenes, class_prompts(), device)


def _painter(recipe: Recipe, tuned: Recipe) -> Model:
    return Model(
        role="painter", build=PainterNetwork,
        architecture={"vocabulary": Tokenizer().size, "style": STYLE},
        objective=_painting, recipe=recipe, tuning=Tuning(objective=_posing, recipe=tuned),
    )  # fmt: skip


def _classifier(objective: Callable[..., Loss], recipe: Recipe) -> Model:
    return Model(
        role="classifier", build=ClassifierNetwork,
        architecture={"classes": len(class_names())}, objective=objective, recipe=recipe,
    )  # fmt: skip


def models() -> dict[str, Model]:
    """All recipes by the name after ``scenes:``."""
    return {
        "clip": _clip("conv", Recipe(steps=1100, seed=1)),
        "clip-vit": _clip("vit", Recipe(steps=1800, batch=192, rate=1.5e-3, seed=2)),
        "classifier": _classifier(classifying, Recipe(steps=800, seed=6, average=0.99)),
        "classifier-at": _classifier(hardening, Recipe(steps=1500, seed=7, average=0.995)),
        "ae": _autoencoder(False, Recipe(steps=2000, batch=96, seed=3, average=0.995)),
        "vae": _autoencoder(True, Recipe(steps=2000, batch=96, seed=4, average=0.995)),
        "mlm": _masked_lm(Recipe(steps=2000, batch=64, rate=3e-3, seed=8, images=8000)),
        "captioner": _captioner(Recipe(steps=3000, batch=64, seed=9, images=20_000, average=0.995)),
        "eye-narrow": _eye("narrow", Recipe(steps=1100, batch=192, seed=11)),
        "eye-mixer": _eye("mixer", Recipe(steps=1300, batch=192, seed=12)),
        "painter": _painter(
            Recipe(steps=3200, batch=48, seed=10, images=20_000, average=0.997),
            Recipe(steps=2400, batch=48, seed=20, images=20_000, average=0.997),
        ),
        "diffusion": _denoiser(
            Recipe(steps=5000, batch=64, rate=1e-3, seed=5, average=0.998),
            Recipe(steps=7500, batch=64, rate=1e-3, seed=15, average=0.995, cycles=3),
        ),
    }


def recipe_of(name: str) -> Model:
    """The recipe under ``name``, with or without the prefix ``scenes:``.

    Raises:
        UnknownName: there is none.
    """
    known = models()
    short = name.removeprefix("scenes:")
    if short not in known:
        raise UnknownName("recipe", name, [f"scenes:{known_name}" for known_name in known])
    return known[short]
