"""What a vote costs with and without early stop: the same answers, fewer reconstructions.

The table goes from inputs on which all draws agree to inputs on which they are torn: a color
classifier looks at gray images that lean more or less to one color, through Gaussian noise.
"""

from __future__ import annotations

import argparse
import time
from typing import NamedTuple

import torch
from torch import Tensor

from secondlook.decision import Decision
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.guarded import Guarded
from secondlook.ledger import counting
from secondlook.models.base import Embedder
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys

LEANS = (1.0, 0.02, 0.005, 0.0)
"""By how much the first color leads: from beyond doubt to not at all."""
SIDE = 64


class Colors(Embedder):
    """An image is the mean of its channels, a word is one of them."""

    name = "bench:colors"

    def encode_image(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))

    def encode_text(self, texts: object) -> Tensor:
        return torch.eye(3)


class Vote(NamedTuple):
    """A decision, the samples that were encoded for it, and its seconds on the processor."""

    decision: Decision
    encodes: int
    seconds: float


def vote(images: Tensor, samples: int, *, early_stop: bool) -> Vote:
    """A vote by plurality."""
    defense = Consensus(purifier=NoisePurifier(0.5), samples=samples, early_stop=early_stop)
    guarded = Guarded(ZeroShot(Colors(), ("red", "green", "blue")), defense)
    start = time.process_time()
    with counting() as ledger:
        decision = guarded.decide(images, Keys.of(0, range(len(images))))
    seconds = time.process_time() - start
    return Vote(decision, ledger.by_model[Colors.name][0], seconds)


def leaning(lean: float, batch: int) -> Tensor:
    """Gray images with more of the first color."""
    color = torch.tensor([0.5 + lean / 2, 0.5, 0.5]).view(1, 3, 1, 1)
    return color.expand(batch, 3, SIDE, SIDE).contiguous()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=10, help="draws N (%(default)s)")
    parser.add_argument("--batch", type=int, default=128, help="images at once (%(default)s)")
    options = parser.parse_args()

    print(f"plurality, N={options.samples}, batch {options.batch}; encodes with the first look")
    print("  lean   all votes   early stop   saved   seconds   same answers")
    for lean in LEANS:
        images = leaning(lean, options.batch)
        full = vote(images, options.samples, early_stop=False)
        early = vote(images, options.samples, early_stop=True)
        saved = 1 - early.encodes / full.encodes
        same = torch.equal(full.decision.answer, early.decision.answer)
        print(
            f"{lean:6g}   {full.encodes:9d}   {early.encodes:10d}   {saved:4.0%}   "
            f"{full.seconds:.2f} -> {early.seconds:.2f}   {'yes' if same else 'NO'}"
        )


if __name__ == "__main__":
    main()
