"""Captions by hardened embedders: each image is given the nearest caption of other scenes.

The captions of many training scenes are the answers; an attack on images and their true captions
moves the image, and what is then nearest is scored as the audit's task ``captioning`` does.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from experiments.pairs import attacked, percent
from experiments.runner import Measure, Result, main
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.scenes.source import render_batch
from secondlook.statistics import mean, wilson
from secondlook.tasks.captioning import CaptionBatch, CaptioningTask, OpenCaptioning
from secondlook.threat import LEVELS, fraction

SIZE: Final = (64, 64)
MODELS: Final = ("clip", "clip-tecoa", "clip-fare", "clip-mat", "clip-matplus")
ATTACKS: Final = {"PGD": "pair-pgd", "Co-Attack": "co-attack", "SGA": "sga"}


class CaptionExperiment:
    """One arm a model."""

    name = "hardening-captions"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--images", type=int, default=100, help="test scenes (%(default)s)")
        parser.add_argument("--bank", type=int, default=2000, help="training scenes (%(default)s)")
        parser.add_argument("--eps", type=fraction, default=2 / LEVELS, help="radius (2/255)")

    def arms(self, options: argparse.Namespace) -> Mapping[str, Measure]:
        return {name: partial(_measure, name, options) for name in MODELS}

    def report(self, results: Mapping[str, Result]) -> Iterator[str]:
        if not results:
            return
        n, bank = (next(iter(results.values()))[key] for key in ("n", "bank"))
        yield f"right, in percent / CIDEr-D; n = {n}, {bank} captions to choose from"
        yield ""
        yield f"| | clean | {' | '.join(ATTACKS)} |"
        yield "|---|---|" + "---|" * len(ATTACKS)
        for name, result in results.items():
            cells = [f"{percent(each['right'], 0)} / {each['cider']:.2f}" for each in result["scores"].values()]
            yield f"| `scenes:{name}` | {' | '.join(cells)} |"


def _measure(name: str, options: argparse.Namespace, out: Path) -> Result:
    """A model's captions, clean and under each attack."""
    model = load(f"scenes:{name}")
    assert isinstance(model, Embedder)
    texts = [text for five in render_batch(0, "train", range(options.bank)).captions for text in five]
    vectors = model.embed_text(texts)
    task = CaptioningTask(samples=options.images).open()
    given = task.read(range(len(task.rows)), SIZE)
    scores = {"clean": _score(task, given, _nearest(model, given.images, texts, vectors))}
    for label, attack in ATTACKS.items():
        images = attacked(attack, model, given.pairs, options.eps, given.keys).images
        scores[label] = _score(task, given, _nearest(model, images, texts, vectors))
    return {"n": options.images, "bank": len(texts), "eps": options.eps, "scores": scores}


@torch.no_grad()
def _nearest(model: Embedder, images: Tensor, texts: Sequence[str], vectors: Tensor) -> list[str]:
    """Of each image the text that the model finds most like it."""
    return [texts[row] for row in (model.embed(images) @ vectors.T).argmax(1).tolist()]


def _score(task: OpenCaptioning, given: CaptionBatch, captions: Sequence[str]) -> dict[str, Any]:
    """Share of the captions that are right, and their mean CIDEr-D."""
    scored = task.scored(given, captions)
    right = wilson(sum(each.right for each in scored), len(scored))
    return {"right": list(right), "cider": mean([each.cider for each in scored]).value}


if __name__ == "__main__":
    main(CaptionExperiment(), __doc__)
