"""How long and how fast a student is trained, and which samples each step sees."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from secondlook.errors import InvalidInput


@dataclass(frozen=True, kw_only=True)
class Course:
    """The settings that all methods share; AdamW, a linear warm-up, then a cosine to nothing.

    The defaults of ``decay`` and ``warmup`` are those of TeCoA and FARE as published.

    Attributes:
        steps: optimiser steps.
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
        if self.steps < 1:
            raise InvalidInput(f"steps={self.steps}; write 1 or more")
        if self.batch < 2:
            raise InvalidInput(f"batch={self.batch} has nothing to contrast; write 2 or more")
        if not 0 < self.rate < 1:
            raise InvalidInput(f"rate={self.rate:g} is outside (0, 1); write 1e-5, say")
        for field in ("warmup", "average"):
            if not 0 <= getattr(self, field) < 1:
                raise InvalidInput(f"{field}={getattr(self, field):g} is outside [0, 1)")

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
