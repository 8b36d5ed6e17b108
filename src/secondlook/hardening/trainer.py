"""The loop that all methods share: settings, keyed batches, schedule of the rate, resume."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from secondlook.bounds import natural
from secondlook.errors import BrokenRun, InvalidInput
from secondlook.hardening.base import BatchLoss, StepContext
from secondlook.hardening.dataset import Dataset
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.hardening.evaluation import Validation
from secondlook.hardening.output import Checkpoint
from secondlook.models.io.state import restoring
from secondlook.progress import Tick
from secondlook.randomness import Keys
from secondlook.scenes.training.loop import update_average


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """The settings that all methods share; AdamW, a linear warm-up, then a cosine to nothing.

    The defaults of ``decay`` and ``warmup`` are those of TeCoA and FARE as published.

    Attributes:
        steps: optimizer steps.
        batch: samples in a step.
        rate: peak learning rate.
        decay: weight decay.
        warmup: share of the steps over which the rate rises.
        clip: bound on the norm of a step's gradient.
        average: decay of the moving average of the weights; 0 keeps the last weights.
        seed: keys the order of the samples and the attacks.

    Raises:
        InvalidInput: no step, fewer than two samples in one, or a rate that is not positive.
    """

    steps: int = 2000
    batch: int = 64
    rate: float = 1e-5
    decay: float = 1e-4
    warmup: float = 0.07
    clip: float = 1.0
    average: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        natural("seed", self.seed)
        if self.steps < 1:
            raise InvalidInput(f"steps={self.steps}; write 1 or more")
        if self.batch < 2:
            raise InvalidInput(f"batch={self.batch} has nothing to contrast; write 2 or more")
        if not 0 < self.rate < 1:
            raise InvalidInput(f"rate={self.rate:g} is outside (0, 1); write 1e-5, say")
        for name in ("warmup", "average"):
            if not 0 <= getattr(self, name) < 1:
                raise InvalidInput(f"{name}={getattr(self, name):g} is outside [0, 1)")

    def rate_at(self, step: int) -> float:
        """The learning rate of step number ``step``."""
        warm = math.ceil(self.warmup * self.steps)
        if step < warm:
            return self.rate * (step + 1) / warm
        return self.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / (self.steps - warm)))

    def rows(self, step: int, samples: int) -> list[int]:
        """The samples of a step: each once an epoch, in an order of the epoch's own.

        Raises:
            InvalidInput: there are fewer samples than a batch holds.
        """
        if samples < self.batch:
            raise InvalidInput(
                f"{samples} samples do not fill a batch of {self.batch}; "
                f"write --batch {samples} or less, or name a larger set"
            )
        epoch, at = divmod(step, samples // self.batch)
        order = np.random.default_rng([self.seed, epoch]).permutation(samples)
        chosen: list[int] = order[at * self.batch : (at + 1) * self.batch].tolist()
        return chosen


_VALIDATIONS = 20
"""In a training."""


@dataclass(kw_only=True)
class Training:
    """A training under way: all that a checkpoint holds, so that a killed run goes on.

    Attributes:
        trainable: the embedder.
        batch_loss: the loss of a batch.
        dataset: the data.
        config: the settings.
        checkpoint: the file of its state.
        augmentation: what the augmented samples are like to the original model, for the card.
        step: steps that are done.
        history: step, loss and both shares of each validation.
    """

    trainable: TrainableEmbedder
    batch_loss: BatchLoss
    dataset: Dataset
    config: TrainingConfig
    checkpoint: Checkpoint
    augmentation: dict[str, dict[str, float]] = field(default_factory=dict)
    step: int = 0
    history: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rows(0)
        self.optimizer = torch.optim.AdamW(
            self.trainable.parameters.values(), lr=self.config.rate, weight_decay=self.config.decay
        )
        self.mean = {key: value.detach().clone() for key, value in self.trainable.network.state_dict().items()}
        state = self.checkpoint.load()
        if state is not None:
            with restoring(self.checkpoint.path):
                self._restore(state)

    def run(self, validate: Callable[[], Validation], tick: Tick, every: int = 100) -> None:
        """Trains to the last step, and leaves the networks in eval mode with its final weights.

        Args:
            validate: measures the embedder, twenty times in a training.
            tick: called at each step.
            every: steps between two checkpoints.

        Raises:
            BrokenRun: the loss or its gradient is not finite.
        """
        self.trainable.network.train()
        interval, measured = max(1, self.config.steps // _VALIDATIONS), self._last()
        while self.step < self.config.steps:
            loss = self._take_step()
            self.step += 1
            if self._is_first and (self.step % interval == 0 or self.step == self.config.steps):
                validation = validate()
                self.history.append([self.step, loss, *validation])
                measured = f", clean {validation.clean:.2f}, attacked {validation.attacked:.2f}"
            tick(self.step, self.config.steps, f"loss {loss:.3f}{measured}")
            if self._is_first and (self.step % every == 0 or self.step == self.config.steps):
                self._save()
        if self.config.average:
            self.trainable.network.load_state_dict(self.mean)
        self.trainable.network.eval()

    def _take_step(self) -> float:
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.rate_at(self.step)
        batch = self.dataset.read(self._rows(self.step))
        keys = Keys.of(self.config.seed, batch.ids).fold("harden", self.step)
        context = StepContext(keys, self.step / self.config.steps)
        loss = self.batch_loss(batch.to(self.trainable.device), context)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.trainable.processes.synchronize(self.trainable.network)
        loss = loss.detach()
        self.trainable.processes.average([loss])
        size = nn.utils.clip_grad_norm_(self.trainable.parameters.values(), self.config.clip)
        self._check(loss, size)
        self.optimizer.step()
        self._average()
        return float(loss)

    def _rows(self, step: int) -> list[int]:
        """This process's shard of a step's samples."""
        return self.trainable.processes.shard(self.config.rows(step, len(self.dataset)))

    def _check(self, loss: Tensor, size: Tensor) -> None:
        """Stops before a step that would spoil the weights."""
        if bool(loss.isfinite()) and bool(size.isfinite()):
            return
        kept = f"no checkpoint was written before it, there is no {self.checkpoint.path}"
        if self.checkpoint.path.exists():
            kept = f"the last good checkpoint is kept at {self.checkpoint.path}"
        raise BrokenRun(
            f"step {self.step + 1}: the loss is {float(loss):g}, its gradient {float(size):g} "
            f"long; {kept}; begin again in another --out with a smaller --lr"
        )

    def _average(self) -> None:
        if self.config.average:
            update_average(self.mean, self.trainable.network, self.config.average, self.step)

    @property
    def _is_first(self) -> bool:
        return self.trainable.processes.rank == 0

    def _last(self) -> str:
        if not self.history:
            return ""
        *_, clean, attacked = self.history[-1]
        return f", clean {clean:.2f}, attacked {attacked:.2f}"

    def _save(self) -> None:
        self.checkpoint.save(
            {
                "step": self.step,
                "network": self.trainable.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "mean": self.mean,
                "history": self.history,
            }
        )

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.history = state["step"], state["history"]
        self.trainable.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, value in state["mean"].items():
            self.mean[name].copy_(value)
