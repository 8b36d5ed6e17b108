"""An image-text embedder of labeled photographs: captions, pixels, loss, training."""

from __future__ import annotations

import re
import tomllib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook import registry
from secondlook.data import load as open_source
from secondlook.data.base import Source
from secondlook.errors import InvalidInput
from secondlook.places import at_home
from secondlook.progress import Tick
from secondlook.scenes.models.clip import PHOTO_SIDE, PhotoNetwork
from secondlook.scenes.training.loop import Loss, Recipe, Training
from secondlook.scenes.training.losses import bf16
from secondlook.scenes.training.train import round_to_half, write_model


def captions(classes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """All captions of each class: every template with every name of it.

    A class without a list of names goes by its own, underscores written as blanks.
    """
    table = _table()
    known = [name.replace("_", " ").lower() for name in classes]
    names_of = [table["names"].get(name, [name]) for name in known]
    return tuple(
        tuple(template.format(name) for template in table["templates"] for name in names) for names in names_of
    )


def vocabulary(captions: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """All words of the captions, sorted."""
    texts = " ".join(text for own in captions for text in own)
    return tuple(sorted(set(re.findall(r"[^\W_]+", texts.lower()))))


def _table() -> dict[str, Any]:
    text = files("secondlook.scenes.training").joinpath("photo_captions.toml").read_text("utf-8")
    return tomllib.loads(text)


_CHUNK = 500
_MARGIN = 4
_SMOOTHING = 0.1


@dataclass(frozen=True, kw_only=True)
class PhotoSet:
    """Labelled photographs in memory.

    Attributes:
        pixels: ``[n, 32, 32, 3]`` uint8.
        labels: ``[n]``.
        classes: names, in the order of the labels.
        prompt: the template of a class name that figures are measured with.
    """

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    prompt: str

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def digest(self) -> str:
        """What tells them from others."""
        pixels, labels = (zlib.crc32(each.numpy().tobytes()) for each in (self.pixels, self.labels))
        return registry.digest([pixels, labels, self.classes])

    def images(self, rows: Tensor) -> Tensor:
        """Pixels ``[B, 3, 32, 32]`` of ``rows`` in [0, 1]."""
        return self.pixels[rows].permute(0, 3, 1, 2).float() / 255

    def varied(self, rows: Tensor, generator: torch.Generator) -> Tensor:
        """The same, each shifted by up to four pixels and half of them mirrored."""
        n, side = len(rows), PHOTO_SIDE
        padded = F.pad(self.images(rows), [_MARGIN] * 4, mode="reflect")
        corner = torch.randint(2 * _MARGIN + 1, (n, 2, 1), generator=generator)
        across = torch.arange(side).expand(n, -1)
        mirrored = torch.rand(n, 1, generator=generator) < 0.5
        down, right = corner[:, 0] + across, corner[:, 1] + across
        right = torch.where(mirrored, right.flip(1), right)
        # Channels come last out of this lookup, which is how convolutions want them.
        cut = padded[torch.arange(n)[:, None, None], :, down[:, :, None], right[:, None, :]]
        return cut.permute(0, 3, 1, 2)


def load(source: Source, tick: Tick) -> PhotoSet:
    """Decodes all images of a source of classes."""
    parts, labels = [], []
    starts = range(0, len(source), _CHUNK)
    for done, first in enumerate(starts, start=1):
        rows = range(first, min(first + _CHUNK, len(source)))
        samples = source.read(rows, (PHOTO_SIDE, PHOTO_SIDE))
        parts.append((samples.images * 255).round().byte().permute(0, 2, 3, 1))
        labels.append(samples.truth)
        tick(done, len(starts), "reading photographs")
    return PhotoSet(
        pixels=torch.cat(parts).contiguous(),
        labels=torch.cat(labels),
        classes=tuple(source.classes),
        prompt=source.prompt,
    )


def photo_loss(network: PhotoNetwork, photos: PhotoSet, device: str) -> Loss:
    """Cross-entropy of each photograph over one caption of each class, drawn anew at each step.

    Captions tell no more than the class, so that those of other photographs of the same class are
    no negatives (UniCL, Yang et al. 2022); one caption a class stands for them all.
    """
    tokens = [torch.from_numpy(network.tokenizer.encode(own)) for own in captions(photos.classes)]

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        chosen = [int(torch.randint(len(own), (1,), generator=generator)) for own in tokens]
        ids = torch.stack([own[row] for own, row in zip(tokens, chosen, strict=True)])
        ids = ids[:, : int((ids != 0).sum(1).max())]
        with bf16(device):
            image = network.embed_image(photos.varied(rows, generator).to(device))
            text = network.embed_text(ids.to(device))
        logits = network.log_scale.exp().clamp(max=100) * image @ text.T
        truth = photos.labels[rows].to(device)
        return F.cross_entropy(logits, truth, label_smoothing=_SMOOTHING)

    return loss


@torch.no_grad()
def figures(network: PhotoNetwork, photos: PhotoSet) -> dict[str, float]:
    """Zero-shot top-1 with the source's own prompt."""
    prompts = [photos.prompt.format(name) for name in photos.classes]
    texts = network.embed_text(torch.from_numpy(network.tokenizer.encode(prompts)))
    right = 0
    for rows in torch.arange(len(photos)).split(250):
        answer = (network.embed_image(photos.images(rows)) @ texts.T).argmax(1)
        right += int((answer == photos.labels[rows]).sum())
    return {"zero_shot_top1": right / len(photos)}


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
        tick: called with the progress.
        recipe: how long and how bf16.

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
    training = Training(network, recipe, out / f"{NAME}.checkpoint", data=photos.digest)
    training.run(photo_loss(network, photos, device), len(photos), tick)
    weights = round_to_half(network)
    measured = figures(network, held_out) if held_out else {}
    return write_model(
        training,
        weights,
        measured,
        out / NAME,
        {
            "name": NAME,
            "role": "embedder",
            "architecture": {"network": PhotoNetwork.__name__, "words": list(words)},
            "data": f"{len(photos)} photographs of {data}; captions made from their classes",
            "command": at_home(f"secondlook train {NAME} --data {data}"),
            "measured_on": f"{len(held_out)} photographs of {test}" if held_out else "",
        },
    )


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
