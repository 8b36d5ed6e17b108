"""APGD on an encoder of the size of CLIP ViT-B/32, over a bare loop of its own passes.

The weights are random, so nothing is downloaded. Each pass of the bare loop, always in fp32 and
uncompiled, follows on one of the attack's at the same batch size, in one process and one thread.
Then the same with the encoder in bf16, compiled, and with its blocks checkpointed.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.replay import Beside, Replay, Spent
from secondlook.attacks.apgd import APGD
from secondlook.defenses.guarded import Guarded
from secondlook.models.base import Embedder
from secondlook.models.io.hub import extra
from secondlook.models.io.preprocessing import squeezed
from secondlook.models.runtime.engine import Engine, EngineSettings, checkpointed
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.threat import Threat, fraction

CLASSES, SIDE, WIDTH, TARGET = 100, 224, 512, 1.05
PHRASINGS = {
    "fp32": EngineSettings(),
    "bf16": EngineSettings(dtype="bf16"),
    "compile": EngineSettings(compile=True),
    "checkpoint": EngineSettings(checkpoint=True),
}


class Tower(torch.nn.Module):
    """The image tower of ViT-B/32 with the cosines to some fixed vectors on top."""

    def __init__(self) -> None:
        super().__init__()
        library = extra("transformers", "hf")
        self.body = library.CLIPVisionModelWithProjection(library.CLIPVisionConfig())
        self.show = squeezed(SIDE)
        drawn = Keys.of(0, ["classes"]).normal((CLASSES, WIDTH))[0]
        self.words = F.normalize(drawn, dim=-1)

    def encode(self, x: Tensor) -> Tensor:
        vectors: Tensor = self.body(pixel_values=self.show(x)).image_embeds
        return vectors

    def forward(self, x: Tensor) -> Tensor:
        """The cosines, as the bare loop computes them."""
        return F.normalize(self.encode(x), dim=-1) @ self.words.T


class Vit(Embedder):
    """The tower as an embedder."""

    name, size = "bench:vit-b-32", (SIDE, SIDE)

    def __init__(self, tower: Tower, manner: EngineSettings) -> None:
        self.tower, self.modules, self.engine = tower, (tower,), Engine(manner)

    def encode_image(self, x: Tensor) -> Tensor:
        return self.tower.encode(x)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        return self.tower.words[: len(texts)]


class Result(NamedTuple):
    """What the attack and the bare loop took, and the share that was not fooled."""

    attack: Spent
    bare: Spent
    robust: float


def race(tower: Tower, manner: EngineSettings, options: argparse.Namespace) -> Result:
    """One attack with the bare loop beside it."""
    model = ZeroShot(Vit(tower, manner), [f"class {k}" for k in range(CLASSES)])
    keys = Keys.of(0, range(options.batch))
    clean = (keys.uniform((3, SIDE, SIDE)) * 255).round() / 255
    goal = Untargeted(truth=tower(clean).argmax(1))
    objective = UntargetedObjective(goal=goal, victim=Guarded(model))
    replay = Replay(tower)
    attack = APGD(steps=options.steps, early_exit=False)
    start = Spent.now()
    x = attack(Beside(objective=objective, replay=replay), clean, Threat(eps=options.eps), keys).x
    both = Spent.now().since(start)
    bare = Spent(*(sum(column) for column in zip(*replay.turns, strict=True)))
    robust = float((tower(x).argmax(1) == goal.truth).float().mean())
    return Result(both.since(bare), bare, robust)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=4, help="steps of APGD (%(default)s)")
    parser.add_argument("--batch", type=int, default=16, help="images at once (%(default)s)")
    parser.add_argument("--eps", type=fraction, default=2 / 255, help="L∞ radius (2/255)")
    parser.add_argument("--repeats", type=int, default=2, help="races of each (%(default)s)")
    parser.add_argument("--only", choices=PHRASINGS, action="append", help="repeatable; all")
    options = parser.parse_args()

    torch.set_num_threads(1)
    with torch.random.fork_rng():
        tower = Tower().eval().requires_grad_(False)
    for name in options.only or PHRASINGS:
        if PHRASINGS[name].checkpoint:
            # For the bare loop too, which has the same network: what is left is the attack's own.
            checkpointed((tower,), "bench:vit-b-32")
        short = argparse.Namespace(**{**vars(options), "steps": 1})
        race(tower, PHRASINGS[name], short)  # warm-up, and what is compiled
        results = [race(tower, PHRASINGS[name], options) for _ in range(options.repeats)]
        ratios = [result.attack.wall / result.bare.wall for result in results]
        each = statistics.median(r.attack.wall for r in results) / (options.steps + 1)
        print(
            f"{name}, batch {options.batch}: {statistics.median(ratios):.3f} of the bare loop's "
            f"wall ({', '.join(f'{ratio:.3f}' for ratio in ratios)}), {each:.2f} s a step, "
            f"{results[0].robust:.0%} robust",
            flush=True,
        )
        if name == "fp32":
            ratio = statistics.median(ratios)
            print(f"target at most {TARGET}: {'met' if ratio <= TARGET else 'missed'}")


if __name__ == "__main__":
    main()
