"""What the attack costs over a bare loop of as many forwards and input gradients, in one process.

Both climb the same objective on a network of the size of ``scenes:clip`` with random weights. A
step of the one follows a step of the other, so that whatever else the machine does hits both.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.replay import Spent
from secondlook.attacks.base import Evaluation
from secondlook.attacks.illusion import Illusion
from secondlook.defenses.guarded import Guarded
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.base import GuardedObjective
from secondlook.objectives.targeted import AlignEmbedding
from secondlook.randomness import Keys
from secondlook.scenes.captions import PROMPT, class_names
from secondlook.scenes.models.clip import ClipNetwork, SceneEmbedder
from secondlook.scenes.tokenizer import Tokenizer
from secondlook.scenes.world import SIDE
from secondlook.threat import Threat

TARGET = 1.05


class BareLoop:
    """The loop that one would write by hand: forward, input gradient, sign step, clamp."""

    def __init__(self, network: ClipNetwork, clean: Tensor, target: Tensor, step: float) -> None:
        eps = Threat().eps
        self.network, self.x, self.target, self.step = network, clean.clone(), target, step
        self.low, self.high = (clean - eps).clamp_min(0), (clean + eps).clamp_max(1)
        self.turns: list[Spent] = []

    def turn(self) -> None:
        """One step, timed."""
        start = Spent.now()
        x = self.x.requires_grad_()
        loss = F.cosine_similarity(self.network.embed_image(x), self.target).sum()
        (gradient,) = torch.autograd.grad(loss, x)
        self.x = (x.detach() + self.step * gradient.sign()).clamp(self.low, self.high)
        self.turns.append(Spent.now().since(start))


@dataclass(frozen=True, kw_only=True)
class Beside:
    """An objective that lets the bare loop take a turn whenever it is asked."""

    objective: GuardedObjective
    bare: BareLoop

    @property
    def parts(self) -> tuple[Beside]:
        return (self,)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        return tuple(self.objective.modules)

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        self.bare.turn()
        return self.objective(x, keys)

    def take(self, rows: Tensor) -> Beside:
        return Beside(objective=self.objective.take(rows), bare=self.bare)


class Result(NamedTuple):
    """Seconds of the attack and of the bare loop."""

    attack: Spent
    bare: Spent


def race(network: ClipNetwork, steps: int, batch: int) -> Result:
    """One attack with the bare loop beside it."""
    model = ZeroShot(SceneEmbedder("bench:clip", network), class_names(), PROMPT)
    keys = Keys.of(0, range(batch))
    clean = keys.uniform((3, SIDE, SIDE))
    classes = torch.tensor(keys.fold("target").integers(len(model.classes)))
    goal = AlignEmbedding(vectors=model.class_features(classes), classes=classes)
    objective = GuardedObjective(goal=goal, victim=Guarded(model))
    attack = Illusion(steps=steps)
    bare = BareLoop(network, clean, goal.vectors, attack.step)
    start = Spent.now()
    attack(Beside(objective=objective, bare=bare), clean, Threat(), keys)
    both = Spent.now().since(start)
    alone = Spent(*(sum(column) for column in zip(*bare.turns, strict=True)))
    return Result(both.since(alone), alone)


def shipped_like() -> ClipNetwork:
    """A network as the shipped one is held in memory: frozen, in eval mode, channels last."""
    network = ClipNetwork(tower="conv", vocabulary=Tokenizer().size)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="steps of the attack (%(default)s)")
    parser.add_argument("--batch", type=int, default=128, help="images at once (%(default)s)")
    parser.add_argument("--repeats", type=int, default=1, help="attacks (%(default)s)")
    options = parser.parse_args()

    network = shipped_like()
    race(network, 3, options.batch)  # warm-up
    results = [race(network, options.steps, options.batch) for _ in range(options.repeats)]
    ratio = statistics.median(own.processor / bare.processor for own, bare in results)
    wall = statistics.median(own.wall / bare.wall for own, bare in results)
    rate = options.batch / statistics.median(own.wall for own, _ in results)
    print(f"illusion, {options.steps} steps, batch {options.batch}: {rate:.1f} images/s")
    print(f"over the bare loop: {ratio:.3f} of the processor, {wall:.3f} of the wall")
    print(f"target at most {TARGET}: {'met' if ratio <= TARGET else 'missed'}")


if __name__ == "__main__":
    main()
