"""The training loop that all recipes share: keyed batches, warm-up and cosine, resume."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from secondlook.errors import InvalidInput
from secondlook.models.io.state import read_state, restoring, write_state
from secondlook.progress import Tick

Loss = Callable[[Tensor, torch.Generator], Tensor]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How long and how fast a model is trained.

    Attributes:
        steps: optimizer steps.
        batch: scenes in a step.
        rate: peak learning rate of AdamW.
        decay: weight decay.
        images: distinct scenes in the training set.
        seed: keys the scenes, the initial weights and the batches.
        average: decay of the moving average of the weights; 0 keeps the last weights.
        cycles: how often the rate rises and falls over all steps (SGDR, arXiv 1608.03983).
    """

    steps: int
    batch: int = 256
    rate: float = 2e-3
    decay: float = 0.02
    images: int = 30_000
    seed: int = 0
    average: float = 0.0
    cycles: int = 1

    def rate_at(self, step: int) -> float:
        """In each cycle a linear warm-up over 4 % of its steps, then a cosine to nothing."""
        length = math.ceil(self.steps / self.cycles)
        warm, at = max(1, length // 25), step % length
        if at < warm:
            return self.rate * (at + 1) / warm
        return self.rate * 0.5 * (1 + math.cos(math.pi * (at - warm) / (length - warm)))


@dataclass
class Training:
    """A network on its way: what a checkpoint holds, so that a killed run goes on.

    Attributes:
        network: what is trained.
        recipe: how.
        checkpoint: the file of its state.
        step: steps that are done.
        data: what tells the data from others, where they are not the recipe's.

    Raises:
        InvalidInput: the checkpoint is damaged, or of another recipe or other data.
    """

    network: nn.Module
    recipe: Recipe
    checkpoint: Path
    step: int = 0
    data: str = ""

    def __post_init__(self) -> None:
        # Channels last is the faster layout for small convolutions on a CPU.
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimizer = torch.optim.AdamW(
            self.network.parameters(), lr=self.recipe.rate, weight_decay=self.recipe.decay
        )
        self.mean = {k: v.detach().clone() for k, v in self.network.state_dict().items()}
        state = read_state(self.checkpoint)
        if state is not None:
            with restoring(self.checkpoint):
                self._load(state)

    def _load(self, state: dict[str, Any]) -> None:
        if state["of"] != self._of:
            raise InvalidInput(
                f"{self.checkpoint} is of a training with other settings or data; remove it to begin again, or name "
                "another --out"
            )
        self.step = state["step"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, value in state["mean"].items():
            self.mean[name].copy_(value)

    @property
    def _of(self) -> dict[str, Any]:
        return {**asdict(self.recipe), "data": self.data}

    def save(self) -> None:
        """Writes the checkpoint in one move, so that a kill leaves the old or the new one."""
        state = {
            "of": self._of,
            "step": self.step,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "mean": self.mean,
        }
        write_state(self.checkpoint, state)

    def run(self, loss: Loss, scenes: int, tick: Tick, every: int = 250) -> None:
        """Trains to the last step; ``loss(rows, generator)`` is the loss of a batch of scenes."""
        self.network.train()
        while self.step < self.recipe.steps:
            value = self._take_step(loss, scenes)
            self.step += 1
            if self.step % 10 == 0:
                tick(self.step, self.recipe.steps, f"loss {value:.4f}")
            if self.step % every == 0:
                self.save()
        self.save()
        if self.recipe.average:
            self.network.load_state_dict(self.mean)
        self.network.eval()

    def _take_step(self, loss: Loss, scenes: int) -> float:
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.step)
        rows = torch.randint(scenes, (self.recipe.batch,), generator=generator)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.rate_at(self.step)
        value = loss(rows, generator)
        self.optimizer.zero_grad(set_to_none=True)
        value.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        self._average()
        return float(value.detach())

    def _average(self) -> None:
        if self.recipe.average:
            update_average(self.mean, self.network, self.recipe.average, self.step)


def update_average(mean: dict[str, Tensor], network: nn.Module, decay: float, step: int) -> None:
    """Moves an average of the weights in place; at the first steps it forgets faster."""
    keep = min(decay, (1 + step) / (10 + step))
    for name, value in network.state_dict().items():
        if mean[name].dtype.is_floating_point:
            mean[name].lerp_(value, 1 - keep)
        else:
            mean[name].copy_(value)
