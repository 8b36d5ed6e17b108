"""What APGD costs over a bare replay of its own passes, in one process, on a small CNN.

The replay is a forward, and where the attack takes one an input gradient of the cross-entropy, at
the very batch sizes of the attack. Each of its passes follows on one of the attack's, so that
whatever else the machine does hits both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from secondlook.attacks.apgd import APGD
from secondlook.attacks.base import Judged
from secondlook.attacks.contest import View
from secondlook.defenses.undefended import Undefended
from secondlook.goals.mislead import Bout, Mislead
from secondlook.models.logits import LogitClassifier
from secondlook.randomness import Keys
from secondlook.threat import Threat, fraction

CLASSES, SIDE = 10, 32
ATTACKS = {"apgd-ce": (APGD(), 1.08), "apgd-t": (APGD(targets=9), 1.10)}


@dataclass
class Replay:
    """The bare passes, and the seconds that they took."""

    network: nn.Module
    seconds: float = 0.0

    def turn(self, x: Tensor) -> None:
        """One pass over a batch like ``x``, timed."""
        start = time.perf_counter()
        if x.requires_grad:
            own = x.detach().requires_grad_()
            logits = self.network(own)
            loss = F.cross_entropy(logits, logits.detach().argmax(1), reduction="sum")
            torch.autograd.grad(loss, own)
        else:
            self.network(x)
        self.seconds += time.perf_counter() - start


@dataclass(frozen=True, kw_only=True)
class Beside:
    """A bout beside which the replay takes a turn whenever it is asked."""

    bout: Bout
    replay: Replay = field(repr=False)

    @property
    def parts(self) -> tuple[Beside, ...]:
        return (self,)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        return tuple(self.bout.modules)

    @property
    def losing(self) -> Tensor:
        return self.bout.losing

    @property
    def classes(self) -> int:
        return self.bout.classes

    def look(self, x: Tensor, keys: Keys) -> View:
        self.replay.turn(x)
        return self.bout.look(x, keys)

    def __call__(self, x: Tensor, keys: Keys) -> Judged:
        self.replay.turn(x)
        return self.bout(x, keys)

    def drawing(self, draws: int) -> Beside:
        return replace(self, bout=self.bout.drawing(draws))

    def take(self, rows: Tensor) -> Beside:
        return replace(self, bout=self.bout.take(rows))


class Result(NamedTuple):
    """Seconds of the attack and of the bare replay, and the share that was not fooled.

    They are of the wall: to ask for those of the processor can cost more than a step does.
    """

    attack: float
    bare: float
    robust: float


def small_cnn() -> nn.Module:
    """Four convolutions and two layers (after Carlini & Wagner 2017), with fixed random weights."""
    network = nn.Sequential(
        nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(64 * (SIDE // 4) ** 2, 200), nn.ReLU(), nn.Linear(200, CLASSES),
    )  # fmt: skip
    for index, weight in enumerate(network.parameters()):
        width = weight[0].numel()
        drawn = Keys.of(0, [index]).normal(tuple(weight.shape))[0] * (2 / width) ** 0.5
        weight.data.copy_(drawn if weight.dim() > 1 else torch.zeros_like(weight))
    return network.eval().requires_grad_(False)


def race(network: nn.Module, attack: APGD, batch: int, eps: float) -> Result:
    """One attack with the replay beside it."""
    keys = Keys.of(0, range(batch))
    clean = (keys.uniform((3, SIDE, SIDE)) * 255).round() / 255
    names = tuple(f"class {k}" for k in range(CLASSES))
    model = LogitClassifier("bench:cnn", network, names, modules=(network,))
    bout = Bout(
        goal=Mislead(truth=network(clean).argmax(1)), victim=Undefended(model=model),
        classes=CLASSES,
    )  # fmt: skip
    replay = Replay(network)
    start = time.perf_counter()
    x = attack(Beside(bout=bout, replay=replay), clean, Threat(eps=eps), keys).x
    both = time.perf_counter() - start
    robust = float((~bout(x, keys).reached).float().mean())
    return Result(both - replay.seconds, replay.seconds, robust)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=100, help="steps of a run (%(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="images at once (%(default)s)")
    parser.add_argument("--eps", type=fraction, default=2 / 255, help="L∞ radius (2/255)")
    parser.add_argument("--repeats", type=int, default=3, help="races of each (%(default)s)")
    options = parser.parse_args()

    torch.set_num_threads(1)
    network = small_cnn()
    race(network, APGD(steps=3), options.batch, options.eps)  # warm-up
    for name, (attack, target) in ATTACKS.items():
        results = [
            race(network, replace(attack, steps=options.steps), options.batch, options.eps)
            for _ in range(options.repeats)
        ]
        ratio = statistics.median(result.attack / result.bare for result in results)
        print(f"{name}, batch {options.batch}, {results[0].robust:.0%} robust")
        print(f"over the bare passes: {ratio:.3f} of the wall")
        print(f"target at most {target}: {'met' if ratio <= target else 'missed'}")


if __name__ == "__main__":
    main()
