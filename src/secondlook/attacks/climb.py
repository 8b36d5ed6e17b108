"""The state of a gradient search over a batch from which finished samples leave."""

from __future__ import annotations

import torch
from torch import Tensor

from secondlook.attacks.base import Attacked, Judged, Objective, Trace
from secondlook.randomness import Keys
from secondlook.threat import per_sample


class Climb:
    """Where each sample stands; ``rows`` are those that are still searched.

    Attributes:
        objective, clean, x, keys: of the active samples alone, in the order of ``rows``.
        rows: positions of the active samples in the whole batch.
    """

    def __init__(self, objective: Objective, clean: Tensor, start: Tensor, keys: Keys) -> None:
        self.objective, self.clean, self.x, self.keys = objective, clean, start, keys
        self.rows = torch.arange(len(clean), device=clean.device)
        self.momentum = torch.zeros_like(clean)
        self.best = clean.new_full((len(clean),), float("-inf"))
        self.best_x = start.clone()
        blank = clean.new_full((len(clean),), float("nan"))
        self.first, self.middle, self.last = blank, blank.clone(), blank.clone()
        self.zero, self.bad, self.steps = (torch.zeros_like(blank) for _ in range(3))

    def __len__(self) -> int:
        return len(self.rows)

    def note(self, judged: Judged, gradient: Tensor, step: int, of: int) -> None:
        """Writes one judged step into the trace."""
        loss = judged.loss.to(self.last)
        # One pass over the pixels: the largest is NaN or infinite where any of them is.
        peak = gradient.flatten(1).abs().amax(1)
        if step == 0:
            self.first[self.rows] = loss
        if step <= of // 2:
            self.middle[self.rows] = loss
        self.last[self.rows] = loss
        self.steps[self.rows] += 1
        self.bad[self.rows] += (~peak.isfinite()).float()
        self.zero[self.rows] += (peak == 0).float()

    def keep(self, loss: Tensor) -> None:
        """Remembers the iterates whose loss is the highest so far."""
        better = loss > self.best[self.rows]
        rows = self.rows[better]
        self.best[rows] = loss[better].to(self.best)
        self.best_x[rows] = self.x[better]

    def steer(self, gradient: Tensor, momentum: float) -> Tensor:
        """The direction of this step: the gradient, or what momentum makes of it."""
        if not momentum:
            return gradient
        mean = gradient.flatten(1).abs().mean(1).clamp_min(1e-12)
        self.momentum = momentum * self.momentum + gradient / per_sample(mean)
        return self.momentum

    def leave(self, reached: Tensor) -> None:
        """Takes the samples that have reached their goal out, with the iterate that did."""
        if not bool(reached.any()):
            return
        self.best_x[self.rows[reached]] = self.x[reached]
        stay = torch.nonzero(~reached).flatten()
        self.objective, self.keys = self.objective.take(stay), self.keys[stay]
        self.rows, self.x, self.clean = self.rows[stay], self.x[stay], self.clean[stay]
        self.momentum = self.momentum[stay]

    def settle(self) -> None:
        """Lets the last iterates of the active samples be the result."""
        self.best_x[self.rows] = self.x

    def finish(self) -> Attacked:
        """The result and its trace."""
        steps = self.steps.clamp_min(1)
        trace = Trace(
            first_loss=self.first, middle_loss=self.middle, last_loss=self.last,
            zero_gradient=self.zero / steps, bad_gradient=self.bad / steps, steps=self.steps,
        )  # fmt: skip
        return Attacked(self.best_x, trace)
