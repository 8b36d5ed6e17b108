"""The prior of an embedder's clean vectors: a denoiser that is trained on them, without texts."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook import registry
from secondlook.data import load as open_source
from secondlook.errors import InvalidInput
from secondlook.models import load
from secondlook.models.base import Embedder, evaluating
from secondlook.places import at_home
from secondlook.progress import Tick
from secondlook.randomness import Keys
from secondlook.scenes.family import part_name
from secondlook.scenes.models.vector_denoiser import MOMENTS, VectorDenoiser, noised, signal
from secondlook.scenes.training.loop import Loss, Recipe, Training
from secondlook.scenes.training.train import round_to_half, write_model

RECIPE: Final = Recipe(steps=3000, batch=256, rate=2e-3, decay=0.01, seed=18, average=0.99)
DATA: Final = "scenes:train?n=4000"
"""Where none are named."""
LATE: Final = 900
"""Where the last hundred moments begin, those that CLIPure-Diff draws."""
_BATCH: Final = 64


def train_prior(
    model: str, out: Path, *, data: str, test: str, device: str, tick: Tick, recipe: Recipe = RECIPE
) -> dict[str, Any]:
    """Trains the prior of a model's vectors into ``out``, with a card.

    A killed training goes on from its checkpoint, which is removed at the end.

    Args:
        model: an embedder by name.
        out: the folder of weights and card.
        data: clean images by name, :data:`DATA` where it is empty; none of them should be evaluated on. Their
            classes are not read.
        test: others to measure on; empty measures nothing.
        device: where to train.
        tick: called with the progress.
        recipe: how long and how fast.

    Returns:
        The card.

    Raises:
        InvalidInput: no embedder, or too few images.
    """
    embedder, data = load(model), data or DATA
    if not isinstance(embedder, Embedder):
        raise InvalidInput(f"{model} is no embedder; a prior is trained on the vectors of one, prior:scenes:clip")
    embedder.to(torch.device(device))
    clean = vectors(embedder, data, device, tick)
    name, recipe = part_name("prior", model), replace(recipe, images=len(clean))
    network = _network(clean.shape[1], recipe.seed).to(device)
    of = registry.digest([embedder.weights_hash, open_source(data).hash])
    training = Training(network, recipe, out / f"{name}.checkpoint", data=of)
    training.run(prior_loss(network, clean), len(clean), tick)
    weights = round_to_half(network)
    held_out = vectors(embedder, test, "cpu", tick) if test else None
    return write_model(training, weights, figures(network, held_out) if held_out is not None else {}, out / name, {
        "name": name,
        "kind": "prior",
        "role": "prior of clean vectors for clipure-diff",
        "base": {"name": model, "hash": embedder.weights_hash},
        "architecture": {"network": VectorDenoiser.__name__, "dim": clean.shape[1]},
        "data": f"the vectors of {len(clean)} images of {data}",
        "command": at_home(f"secondlook train prior:{model} --data {data}{f' --test {test}' if test else ''}"),
        "measured_on": f"the vectors of {len(held_out)} images of {test}" if held_out is not None else "",
    })  # fmt: skip


def vectors(embedder: Embedder, data: str, device: str, tick: Tick) -> Tensor:
    """Vectors of a source's images, ``[N, D]``, of the length ``sqrt(D)``.

    Raises:
        InvalidInput: fewer than two images.
    """
    source = open_source(data)
    if len(source) < 2:
        raise InvalidInput(f"{data} has {len(source)} image(s); a prior takes some hundreds")
    size, parts = getattr(embedder, "size", None), []
    starts = range(0, len(source), _BATCH)
    with torch.no_grad(), evaluating(embedder.modules):
        for done, first in enumerate(starts, start=1):
            images = source.read(range(first, min(first + _BATCH, len(source))), size).images
            parts.append(embedder.embed(images.to(embedder.device or "cpu")).to(device))
            tick(done, len(starts), "embedding images")
    found = torch.cat(parts)
    return found * math.sqrt(found.shape[1])


def prior_loss(network: VectorDenoiser, clean: Tensor) -> Loss:
    """The squared error of the clean vector, at moments drawn evenly."""

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        wanted = clean[rows]
        share = signal(torch.randint(MOMENTS, (len(rows), 1), generator=generator).float()).to(wanted)
        noise = torch.randn(wanted.shape, generator=generator).to(wanted)
        return F.mse_loss(network(noised(wanted, share, noise), share), wanted)

    return loss


@torch.no_grad()
def figures(network: VectorDenoiser, clean: Tensor) -> dict[str, float]:
    """Mean squared errors on held-out vectors; whoever answers zero has 1."""
    keys = Keys.of(0, range(len(clean)))
    noise = keys.fold("noise").normal(clean.shape[1:], like=clean)
    return {
        f"error_{name}": float((network(noised(clean, share, noise), share) - clean).square().mean())
        for name, share in (
            ("middle", signal(torch.full((len(clean), 1), MOMENTS / 2))),
            ("late", signal(keys.fold("moment").uniform((1,)) * (MOMENTS - LATE) + LATE).clamp_min(1e-9)),
        )
    }


def _network(dim: int, seed: int) -> VectorDenoiser:
    """A fresh network; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # noqa: TID251 - forked, and put back
        return VectorDenoiser(dim=dim)
