"""From labelled photographs of the user's own to an image-text embedder of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch

from secondlook.data import load as open_source
from secondlook.errors import InvalidInput
from secondlook.progress import Tick
from secondlook.scenes.networks.photos import PhotoNetwork
from secondlook.scenes.training.loop import Recipe, Training
from secondlook.scenes.training.photo_captions import captions, vocabulary
from secondlook.scenes.training.photos import PhotoSet, figures, load, naming
from secondlook.scenes.training.train import as_shipped, shelve

NAME: Final = "cifar10-clip"
RECIPE: Final = Recipe(steps=1600, rate=3e-3, decay=0.05, seed=8, average=0.99)


def train_photos(
    data: str, out: Path, *, test: str, device: str, tick: Tick, recipe: Recipe = RECIPE
) -> dict[str, Any]:
    """Trains ``out/cifar10-clip`` from the images and classes of ``data``.

    A killed training goes on from its checkpoint, which is removed at the end.

    Args:
        data: photographs by name, ``cifar10:PATH.npz``.
        out: the folder of weights and card.
        test: other photographs of the same classes, to measure on; empty measures nothing.
        device: where to train.
        tick: is told of progress.
        recipe: how long and how fast.

    Returns:
        The model card.

    Raises:
        InvalidInput: ``data`` is empty or has no classes, or ``test`` has others.
    """
    if not data:
        raise InvalidInput(f"{NAME} is made from photographs; add --data cifar10:PATH.npz")
    photos = _read(data, tick)
    held_out = _read(test, tick) if test else None
    if held_out is not None and held_out.classes != photos.classes:
        raise InvalidInput(f"{test} has other classes than {data}; measure on the same ones")
    recipe = replace(recipe, images=len(photos))
    words = vocabulary(captions(photos.classes))
    network = _network(words, recipe.seed, device)
    training = Training(network, recipe, out / f"{NAME}.checkpoint")
    training.run(naming(network, photos, device), len(photos), tick)
    weights = as_shipped(network)
    measured = figures(network, held_out) if held_out else {}
    return shelve(training, weights, measured, out / NAME, {
        "name": NAME,
        "role": "embedder",
        "architecture": {"network": PhotoNetwork.__name__, "words": list(words)},
        "data": f"{len(photos)} photographs of {data}; captions made from their classes",
        "command": f"secondlook train {NAME} --data {data}",
        "measured_on": f"{len(held_out)} photographs of {test}" if held_out else "",
    })  # fmt: skip


def _read(name: str, tick: Tick) -> PhotoSet:
    source = open_source(name)
    if len(source.classes) >= len(source):
        raise InvalidInput(f"{name} has a text for each image; training needs classes")
    return load(source, tick)


def _network(words: tuple[str, ...], seed: int, device: str) -> PhotoNetwork:
    """A fresh network; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # noqa: TID251 - forked, and put back
        return PhotoNetwork(words=words).to(device)
