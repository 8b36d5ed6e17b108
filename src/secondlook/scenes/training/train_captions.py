"""From captions of the user's own to a language model that fills gaps in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.progress import Tick
from secondlook.scenes.networks.masked_lm import CaptionMlmNetwork
from secondlook.scenes.tokenizer import PAD, UNK
from secondlook.scenes.training.caption_texts import (
    FLOOR,
    CaptionTexts,
    apart,
    read,
    vocabulary,
    without,
)
from secondlook.scenes.training.cloze import filled, surprise
from secondlook.scenes.training.loop import Loss, Recipe, Training
from secondlook.scenes.training.train import as_shipped, shelve

NAME: Final = "captions-mlm"
RECIPE: Final = Recipe(steps=5000, batch=96, rate=2e-3, seed=10, average=0.995)
SHARE: Final = 0.3
"""Share of the words that are asked for: a small model learns faster by more than BERT's
(Wettig et al. 2023, arXiv 2202.08005)."""


def train_captions(
    data: str, out: Path, *, test: str, device: str, tick: Tick, recipe: Recipe = RECIPE
) -> dict[str, Any]:
    """Trains ``out/captions-mlm`` from the captions of ``data``.

    A killed training goes on from its checkpoint, which is removed at the end.

    Args:
        data: captions by name: see :func:`secondlook.scenes.training.caption_texts.read`.
        out: the folder of weights and card; the vocabulary is in the card.
        test: other captions to measure on; their images, and captions that say the same, are left
            out of the training. Empty holds out the captions of every twentieth image.
        device: where to train.
        tick: is told of progress.
        recipe: how long and how fast.

    Returns:
        The model card.

    Raises:
        InvalidInput: ``data`` is empty, has no captions or too few, or nothing of it is left.
    """
    if not data:
        raise InvalidInput(f"{NAME} is made from captions; add --data FILE or --data FAMILY:REST")
    told = read(data)
    held_out = read(test) if test else apart(told, recipe.seed)
    used = without(told, held_out)
    if not len(used):
        raise InvalidInput(f"{test or data} leaves no caption of {data} to train on; give others")
    words = vocabulary(used.texts)
    network = _network(words, recipe.seed, device)
    ids, asked = _numbers(network, used), _numbers(network, held_out)
    if not len(asked):
        raise InvalidInput(f"{test or data} has no caption with a known word to measure on")
    training = Training(network, replace(recipe, images=len(ids)), out / f"{NAME}.checkpoint")
    training.run(_loss(network, ids, device), len(ids), tick)
    weights = as_shipped(network)
    measured = {**filled(network, asked), "n": len(asked)}
    return shelve(training, weights, measured, out / NAME, {
        "name": NAME,
        "role": "masked language model",
        "architecture": {"network": CaptionMlmNetwork.__name__, "words": list(words)},
        "data": f"{len(ids)} captions of {data}; words that come {FLOOR} times or more",
        "command": f"secondlook train {NAME} --data {data}{f' --test {test}' if test else ''}",
        "measured_on": f"a gap in each of {len(asked)} captions of "
        f"{test or 'every twentieth image'}, none of them trained on",
    })  # fmt: skip


def _numbers(network: CaptionMlmNetwork, told: CaptionTexts) -> Tensor:
    """Tokens ``[B, L]`` of the captions that have a known word."""
    ids = torch.from_numpy(network.tokenizer.encode(told.texts, network.context))
    ids = ids[(ids > UNK).any(1)]
    return ids[:, : int((ids != PAD).sum(1).max())] if len(ids) else ids


def _loss(network: CaptionMlmNetwork, captions: Tensor, device: str) -> Loss:
    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        ids = captions[rows]
        ids = ids[:, : int((ids != PAD).sum(1).max())]
        return surprise(network, ids, generator, device, SHARE)

    return loss


def _network(words: tuple[str, ...], seed: int, device: str) -> CaptionMlmNetwork:
    """A fresh network; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # noqa: TID251 - forked, and put back
        return CaptionMlmNetwork(words=words).to(device)
