"""What an attack costs over a bare replay of its passes, in one process.

Every pass of the attack, on whatever batch is left, is followed by the same pass of the bare
network, so that whatever else the machine does hits both.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.attacks.base import Attack, Evaluation
from secondlook.attacks.class_objective import Logits
from secondlook.defenses.guarded import Guarded
from secondlook.ledger import counting
from secondlook.models.logits import LogitClassifier
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.randomness import Keys
from secondlook.threat import LEVELS, Threat

CLASSES, SIDE = 10, 32


def small_cnn() -> LogitClassifier:
    """Four convolutions and two layers (after Carlini & Wagner 2017), with fixed random weights."""
    network = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64 * (SIDE // 4) ** 2, 200),
        nn.ReLU(),
        nn.Linear(200, CLASSES),
    )
    for index, weight in enumerate(network.parameters()):
        width = weight[0].numel()
        drawn = Keys.of(0, [index]).normal(tuple(weight.shape))[0] * (2 / width) ** 0.5
        weight.data.copy_(drawn if weight.dim() > 1 else torch.zeros_like(weight))
    network.eval().requires_grad_(False)
    names = tuple(f"class {k}" for k in range(CLASSES))
    return LogitClassifier("bench:cnn", network, names, modules=(network,))


class Spent(NamedTuple):
    """Seconds of the processor, which other programs do not touch, and of the wall."""

    processor: float
    wall: float

    @staticmethod
    def now() -> Spent:
        return Spent(time.process_time(), time.perf_counter())

    def since(self, start: Spent) -> Spent:
        return Spent(self.processor - start.processor, self.wall - start.wall)


@dataclass
class Replay:
    """The bare network: each pass by hand, timed.

    A forward and its gradient are one turn, taken before the attack's own: a graph that stayed
    alive beside the attack's would cost the attack its memory.
    """

    network: nn.Module
    turns: list[Spent] = field(default_factory=list)

    def turn(self, x: Tensor, truth: Tensor) -> None:
        """One forward of a batch like ``x``, and the gradient where ``x`` wants one."""
        start = Spent.now()
        bare = x.detach().requires_grad_(x.requires_grad)
        with torch.set_grad_enabled(x.requires_grad):
            loss = F.cross_entropy(self.network(bare), truth, reduction="sum")
        if x.requires_grad:
            torch.autograd.grad(loss, bare)
        self.turns.append(Spent.now().since(start))


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A bout whose passes are replayed."""

    objective: UntargetedObjective
    replay: Replay

    @property
    def parts(self) -> tuple[Beside, ...]:
        return (self,)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        return tuple(self.objective.modules)

    @property
    def losing(self) -> Tensor:
        return self.objective.losing

    @property
    def classes(self) -> int:
        return self.objective.classes

    def logits(self, x: Tensor, keys: Keys) -> Logits:
        self.replay.turn(x, self.objective.goal.truth)
        return self.objective.logits(x, keys)

    def __call__(self, x: Tensor, keys: Keys) -> Evaluation:
        self.replay.turn(x, self.objective.goal.truth)
        return self.objective(x, keys)

    def with_draws(self, draws: int) -> Beside:
        return replace(self, objective=self.objective.with_draws(draws))

    def take(self, rows: Tensor) -> Beside:
        return replace(self, objective=self.objective.take(rows))


class Result(NamedTuple):
    """Seconds of attack and replay, passes for each image, and the share that is left."""

    attack: Spent
    bare: Spent
    forwards: float
    backwards: float
    robust: float


def race(attack: Attack, threat: Threat, batch: int) -> Result:
    """One attack on images of noise, with the replay beside it."""
    model, keys = small_cnn(), Keys.of(0, range(batch))
    (network,) = model.modules
    clean = (keys.uniform((3, SIDE, SIDE)) * LEVELS).round() / LEVELS
    truth = network(clean).argmax(1)
    replay = Replay(network)
    objective = UntargetedObjective(goal=Untargeted(truth=truth), victim=Guarded(model))
    start = Spent.now()
    with counting() as ledger:
        found = attack(Beside(objective=objective, replay=replay), clean, threat, keys)
    both = Spent.now().since(start)
    bare = Spent(*(sum(column) for column in zip(*replay.turns, strict=True)))
    left = (network(found.x).argmax(1) == truth).float().mean()
    passes = (ledger.forwards / batch, ledger.backwards / batch)
    return Result(both.since(bare), bare, *passes, float(left))


def report(name: str, result: Result, target: float) -> None:
    """Prints the figures, and whether the target is met."""
    ratio, wall = (a / b for a, b in zip(result.attack, result.bare, strict=True))
    print(
        f"{name}: {result.forwards:.0f} forwards and {result.backwards:.0f} backwards an image, "
        f"{result.robust:.0%} of them left"
    )
    print(f"over the bare replay: {ratio:.3f} of the processor, {wall:.3f} of the wall")
    print(f"target at most {target}: {'met' if ratio <= target else 'missed'}")
