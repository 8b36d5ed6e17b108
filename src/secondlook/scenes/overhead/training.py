"""How models of sites are trained: recipes, the sites in memory, and cards for the results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secondlook.errors import InvalidInput, UnknownName
from secondlook.models import load as load_model
from secondlook.progress import Tick
from secondlook.scenes.models.masked_lm import CaptionMlmNetwork
from secondlook.scenes.models.purifiers import AutoencoderNetwork
from secondlook.scenes.overhead.captions import captions, class_names, prompts, vocabulary
from secondlook.scenes.overhead.models import (
    CONTEXT,
    OverheadClassifierNetwork,
    OverheadClipNetwork,
    OverheadPainterNetwork,
)
from secondlook.scenes.overhead.renderer import render
from secondlook.scenes.overhead.world import sample
from secondlook.scenes.sampling import Split
from secondlook.scenes.tokenizer import Tokenizer
from secondlook.scenes.training.dataset import SceneSet
from secondlook.scenes.training.loop import Loss, Recipe, Training
from secondlook.scenes.training.losses import classification_loss, contrastive_loss, reconstruction_error
from secondlook.scenes.training.measure import Figures, autoencoder_figures, classifier_figures, clip_figures
from secondlook.scenes.training.painter import painting_loss
from secondlook.scenes.training.text_losses import masked_lm_figures, masked_lm_loss
from secondlook.scenes.training.train import ModelRecipe, round_to_half, write_model

Objective = Callable[[Any, SceneSet, str], Loss]
"""A network, its sites and a device, to the loss of a batch."""
MEASURED_ON = 500
_DIVERGENCE = 3e-4
_TICK_EVERY = 100


def tokenizer() -> Tokenizer:
    """The tokenizer of captions of sites."""
    return Tokenizer(words=vocabulary())


def class_prompts() -> Tensor:
    """Token ids of the twelve class prompts, ``[12, L]``."""
    return torch.from_numpy(tokenizer().encode(prompts(), CONTEXT))


def render_sites(seed: int, split: Split, n: int, tick: Tick) -> SceneSet:
    """Renders the first ``n`` sites of a split, with their captions as token ids."""
    words = tokenizer()
    pixels, captions_, labels = [], [], []
    for row in range(n):
        site = sample(seed, split, row)
        pixels.append(render(site))
        captions_.append(words.encode(captions(site), CONTEXT))
        labels.append(site.label)
        if row % _TICK_EVERY == 0:
            tick(row, n, "rendering sites")
    return SceneSet(
        pixels=torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(),
        captions=torch.from_numpy(np.stack(captions_)),
        labels=torch.tensor(labels),
        seed=seed,
        split=split,
    )


def _contrastive_loss(network: OverheadClipNetwork, sites: SceneSet, device: str) -> Loss:
    return contrastive_loss(network, sites, class_prompts(), device)  # type: ignore[arg-type]


def _masked_lm_loss(network: CaptionMlmNetwork, sites: SceneSet, device: str) -> Loss:
    return masked_lm_loss(network, sites, class_prompts(), device)


def reconstruction_loss(network: AutoencoderNetwork, sites: SceneSet, device: str) -> Loss:
    """Reconstruction through a Gaussian latent, from the weights of ``scenes:vae`` on.

    That one takes noise and stains away, and small objects with them; for painting they are kept.
    """
    network.load_state_dict(load_model("scenes:vae").network.state_dict())

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        x = sites.images(rows).to(device)
        mean, log_variance = network.encode(x)
        noise = torch.randn(mean.shape, generator=generator).to(device)
        made = network.decode(mean + (0.5 * log_variance).exp() * noise)
        surplus = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        return reconstruction_error(made, x) + _DIVERGENCE * surplus

    return loss


def painter_objective(folder: Path) -> Objective:
    """The loss of a painter in the latent of the ``overhead-vae`` that lies in ``folder``."""

    def objective(network: OverheadPainterNetwork, sites: SceneSet, device: str) -> Loss:
        place = folder / "overhead-vae"
        if not place.with_suffix(".json").is_file():
            raise InvalidInput(
                f"{folder} holds no overhead-vae, in whose latent a painter paints; "
                f"run: secondlook train overhead-vae --out {folder}"
            )
        vae = load_model(f"local:{place}").network
        return painting_loss(network, sites, class_prompts(), device, vae)

    return objective


def recipes(folder: Path = Path("weights")) -> dict[str, ModelRecipe]:
    """All recipes by name; the painter's reads ``overhead-vae`` from ``folder``."""
    words = {"words": list(vocabulary())}
    return {
        "overhead-clip": ModelRecipe(
            role="embedder",
            build=OverheadClipNetwork,
            architecture=words,
            objective=_contrastive_loss,
            recipe=Recipe(steps=600, batch=96, images=6000, seed=1),
        ),
        "overhead-classifier": ModelRecipe(
            role="classifier",
            build=OverheadClassifierNetwork,
            architecture={"classes": len(class_names())},
            objective=classification_loss,
            recipe=Recipe(steps=600, batch=96, images=6000, seed=2),
        ),
        "overhead-mlm": ModelRecipe(
            role="masked language model",
            build=CaptionMlmNetwork,
            architecture={**words, "width": 64, "context": CONTEXT},
            objective=_masked_lm_loss,
            recipe=Recipe(steps=800, batch=64, rate=3e-3, images=3000, seed=3),
        ),
        "overhead-vae": ModelRecipe(
            role="purifier",
            build=AutoencoderNetwork,
            architecture={"variational": True},
            objective=reconstruction_loss,
            recipe=Recipe(steps=500, batch=32, rate=1e-3, images=6000, seed=5),
        ),
        "overhead-painter": ModelRecipe(
            role="painter",
            build=OverheadPainterNetwork,
            architecture=words,
            objective=painter_objective(folder),
            recipe=Recipe(steps=1500, batch=64, images=6000, seed=4, average=0.995),
        ),
    }


def train_overhead(name: str, out: Path, *, device: str, tick: Tick) -> dict[str, Any]:
    """Trains a model of sites into ``out/NAME.safetensors`` and ``out/NAME.json``.

    A killed training goes on from ``out/NAME.checkpoint``, which is removed at the end.

    Returns:
        The model card.

    Raises:
        UnknownName: there is no such recipe.
        InvalidInput: a painter is asked for and ``out`` holds no ``overhead-vae``.
    """
    known = recipes(out)
    if name not in known:
        raise UnknownName("recipe", name, known)
    model = known[name]
    sites = render_sites(model.recipe.seed, "train", model.recipe.images, tick)
    network = model.network().to(device)
    loss = model.objective(network, sites, device)
    training = Training(network, model.recipe, out / f"{name}.checkpoint")
    training.run(loss, len(sites), tick)
    weights = round_to_half(network)
    measured = figures(network, render_sites(0, "test", MEASURED_ON, tick))
    return write_model(
        training,
        weights,
        measured,
        out / name,
        {
            "name": name,
            "role": model.role,
            "architecture": {"network": type(network).__name__, **model.architecture},
            "data": f"the first {len(sites)} sites of the train split, seed {model.recipe.seed}",
            "command": f"secondlook train {name}",
            "measured_on": f"the first {MEASURED_ON} sites of the test split, seed 0",
        },
    )


def figures(network: nn.Module, sites: SceneSet) -> Figures:
    """Clean figures of all but a painter."""
    if isinstance(network, OverheadClipNetwork):
        return clip_figures(network, sites, class_prompts())  # type: ignore[arg-type]
    if isinstance(network, OverheadClassifierNetwork):
        return classifier_figures(network, sites)
    if isinstance(network, CaptionMlmNetwork):
        return masked_lm_figures(network, sites)
    if isinstance(network, AutoencoderNetwork):
        return autoencoder_figures(network, sites)
    return {}
