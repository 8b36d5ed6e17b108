"""What a step of MAT costs over a bare replay of its passes: attack inside and training pass."""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.beside import Bare, replayed
from secondlook import registry
from secondlook.hardening.base import BatchLoss, StepContext
from secondlook.hardening.dataset import Batch, SceneDataset
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.models import load
from secondlook.progress import silent
from secondlook.randomness import Keys
from secondlook.scenes.training.dataset import render_scenes

TARGET = 1.15


@dataclass
class BareTraining(Bare):
    """Replays a training pass too: of a network in training mode, with its parameters' gradient.

    A twin takes such a pass, so that the statistics of batch normalization stay what they are.
    """

    twins: dict[nn.Module, nn.Module] = field(default_factory=dict)

    def turn(self, network: nn.Module, given: tuple[Any, ...], out: Tensor) -> None:
        """One pass, timed."""
        if not network.training:
            super().turn(network, given, out)
            return
        twin = self.twins.setdefault(network, copy.deepcopy(network))
        start = time.perf_counter()
        self.forwards += len(given[0])
        self.backwards += len(given[0])
        with torch.enable_grad():
            torch.autograd.grad(twin.forward(given[0]).sum(), list(twin.parameters()))
        self.seconds += time.perf_counter() - start


class Step(NamedTuple):
    """Seconds of a step without its replay, and the replay."""

    seconds: float
    bare: Bare


@dataclass
class TrainingRun:
    """An embedder in training.

    Attributes:
        trainable: the embedder.
        batch_loss: the loss of a batch.
        networks: whose passes are replayed.
    """

    trainable: TrainableEmbedder
    batch_loss: BatchLoss
    networks: list[nn.Module]

    def __post_init__(self) -> None:
        self.weights = list(self.trainable.parameters.values())
        self.optimizer = torch.optim.AdamW(self.weights, lr=1e-4)

    def step(self, batch: Batch) -> Step:
        """One step: attack, loss, its gradient and what the optimizer does with it."""
        context = StepContext(Keys.of(0, batch.ids), 1.0)
        with replayed(self.networks, BareTraining()) as bare:
            start = time.perf_counter()
            self.optimizer.zero_grad(set_to_none=True)
            self.batch_loss(batch, context).backward()
            nn.utils.clip_grad_norm_(self.weights, 1.0)
            self.optimizer.step()
            both = time.perf_counter() - start
        return Step(both - bare.seconds, bare)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--method", default="mat", help="mat or mat+ (%(default)s)")
    parser.add_argument("--batch", type=int, default=64, help="pairs in a step (%(default)s)")
    parser.add_argument("--steps", type=int, default=5, help="timed, after one (%(default)s)")
    options = parser.parse_args()

    torch.set_num_threads(1)
    model: Any = load("scenes:clip")
    mlm: Any = load("scenes:mlm")
    method: Any = registry.build("method", options.method, {"eps": 4 / 255, "mlm": mlm})
    count = options.batch * (options.steps + 1)
    dataset = SceneDataset(render_scenes(0, "train", count, 1, silent), "train", 0)
    trainable = TrainableEmbedder(model, method.part)
    trainable.network.train()
    networks = [model.network.text, model.network.image, mlm.network]
    run = TrainingRun(trainable, method.make_loss(trainable, dataset), networks)
    steps = []
    for first in range(0, count, options.batch):
        batch = dataset.read(range(first, first + options.batch))
        steps.append(run.step(batch))
    timed = steps[1:]
    ratio = statistics.median(each.seconds / each.bare.seconds for each in timed)
    bare = timed[0].bare
    passes = (bare.forwards / options.batch, bare.backwards / options.batch)
    print(f"{options.method}, batch {options.batch}: {statistics.median(each.seconds for each in timed):.2f} s a step")
    print(f"{passes[0]:.0f} forwards and {passes[1]:.0f} backwards a pair")
    print(f"over the bare passes: {ratio:.3f} of the wall")
    print(f"target at most {TARGET}: {'met' if ratio <= TARGET else 'missed'}")


if __name__ == "__main__":
    main()
