"""Captioning by hardened embedders: each image is told the nearest caption of other scenes.

The captions of many training scenes are the answers; an attack on images and their true captions
moves the image, and what is then nearest is held against the scene (``captioning`` of the audit).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import torch
from torch import Tensor

from secondlook import registry
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.scenes.dataset import batch
from secondlook.statistics import mean, wilson
from secondlook.tasks.captioning import CaptionBatch, CaptioningTask, OpenCaptioning
from secondlook.threat import LEVELS, Threat, fraction

SIZE = (64, 64)
MODELS = ("clip", "clip-tecoa", "clip-fare", "clip-mat", "clip-matplus")
ATTACKS = {"PGD": "pair-pgd", "Co-Attack": "co", "SGA": "sga"}


@torch.no_grad()
def nearest(model: Embedder, images: Tensor, bank: Sequence[str], vectors: Tensor) -> list[str]:
    """Of each image the caption that the model finds most like it."""
    return [bank[row] for row in (model.embed(images) @ vectors.T).argmax(1).tolist()]


def told(task: OpenCaptioning, asked: CaptionBatch, texts: Sequence[str]) -> str:
    """Share of the captions that are right, and their mean CIDEr-D."""
    judged = task.judged(asked, texts)
    right = wilson(sum(each.right for each in judged), len(judged))
    cider = mean([each.cider for each in judged])
    return (
        f"{100 * right.value:.0f} [{100 * right.low:.0f}, {100 * right.high:.0f}] / "
        f"{cider.value:.2f}"
    )


def row(name: str, task: OpenCaptioning, bank: Sequence[str], threat: Threat) -> str:
    """A model's line: clean, and under each attack."""
    model = load(f"scenes:{name}")
    assert isinstance(model, Embedder)
    asked = task.batch(range(len(task.rows)), SIZE)
    vectors = model.embed_text(list(bank))
    cells = [told(task, asked, nearest(model, asked.images, bank, vectors))]
    for attack in ATTACKS.values():
        made = registry.build("pair attack", attack, {})(
            model, asked.pairs, threat, asked.keys.fold("attack", attack)
        )
        cells.append(told(task, asked, nearest(model, made.images, bank, vectors)))
    return f"| `scenes:{name}` | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=100, help="test scenes (%(default)s)")
    parser.add_argument("--bank", type=int, default=2000, help="training scenes (%(default)s)")
    parser.add_argument("--eps", type=fraction, default=2 / LEVELS, help="in pixel units (2/255)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    task = CaptioningTask(samples=options.images).open()
    others = batch(0, "train", range(options.bank)).captions
    bank = [text for texts in others for text in texts]
    print(
        f"right, in percent / CIDEr-D; n = {options.images}, {len(bank)} captions to choose from\n"
    )
    print(f"| | clean | {' | '.join(ATTACKS)} |\n|---|---|{'---|' * len(ATTACKS)}")
    for name in MODELS:
        print(row(name, task, bank, Threat(eps=options.eps)), flush=True)


if __name__ == "__main__":
    main()
