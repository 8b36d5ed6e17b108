"""The loop that all methods share: keyed batches, warm-up and cosine, resume, and a stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from secondlook.errors import BrokenRun
from secondlook.hardening.base import Lesson, Moment
from secondlook.hardening.checkpoint import Checkpoint
from secondlook.hardening.course import Course
from secondlook.hardening.lessons import Lessons
from secondlook.hardening.probe import Glance
from secondlook.hardening.student import Student
from secondlook.progress import Tick
from secondlook.randomness import Keys
from secondlook.scenes.training.loop import follow

Look = Callable[[], Glance]
_PROBES = 20
"""How often a student is looked at in the course of its training."""


@dataclass(kw_only=True)
class Training:
    """A student on its way: all that a checkpoint holds, so that a killed run goes on.

    Attributes:
        student: who learns.
        lesson: the loss of a batch.
        lessons: the data.
        course: the settings.
        checkpoint: the file of its state.
        augmentation: what the augmented samples are like to the original model, for the card.
        step: steps that lie behind.
        history: step, loss and both shares of each look.
    """

    student: Student
    lesson: Lesson
    lessons: Lessons
    course: Course
    checkpoint: Checkpoint
    augmentation: dict[str, dict[str, float]] = field(default_factory=dict)
    step: int = 0
    history: list[list[float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rows(0)
        self.optimiser = torch.optim.AdamW(
            self.student.parameters.values(), lr=self.course.rate, weight_decay=self.course.decay
        )
        self.mean = {
            key: value.detach().clone() for key, value in self.student.network.state_dict().items()
        }
        state = self.checkpoint.load()
        if state is not None:
            self._restore(state)

    def run(self, look: Look, tick: Tick, every: int = 100) -> None:
        """Trains to the last step, and leaves the student in eval mode with its final weights.

        Args:
            look: a quick look at the student, some times in a training.
            tick: is told of each step.
            every: steps between two checkpoints.

        Raises:
            BrokenRun: the loss or its gradient is not finite.
        """
        self.student.network.train()
        pause, seen = max(1, self.course.steps // _PROBES), self._last()
        while self.step < self.course.steps:
            loss = self._take_step()
            self.step += 1
            if self._leads and (self.step % pause == 0 or self.step == self.course.steps):
                glance = look()
                self.history.append([self.step, loss, *glance])
                seen = f", clean {glance.clean:.2f}, attacked {glance.attacked:.2f}"
            tick(self.step, self.course.steps, f"loss {loss:.3f}{seen}")
            if self._leads and (self.step % every == 0 or self.step == self.course.steps):
                self._save()
        if self.course.average:
            self.student.network.load_state_dict(self.mean)
        self.student.network.eval()

    def _take_step(self) -> float:
        for group in self.optimiser.param_groups:
            group["lr"] = self.course.rate_at(self.step)
        batch = self.lessons.read(self._rows(self.step))
        keys = Keys.of(self.course.seed, batch.ids).fold("harden", self.step)
        moment = Moment(keys, self.step / self.course.steps)
        loss = self.lesson(batch.to(self.student.device), moment)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.student.team.agree(self.student.network)
        loss = loss.detach()
        self.student.team.average([loss])
        size = nn.utils.clip_grad_norm_(self.student.parameters.values(), self.course.clip)
        self._check(loss, size)
        self.optimiser.step()
        self._average()
        return float(loss)

    def _rows(self, step: int) -> list[int]:
        """This process's share of a step's samples."""
        return self.student.team.share(self.course.rows(step, len(self.lessons)))

    def _check(self, loss: Tensor, size: Tensor) -> None:
        """Stops before a step that would spoil the weights."""
        if bool(loss.isfinite()) and bool(size.isfinite()):
            return
        kept = f"no checkpoint was written before it, {self.checkpoint.path} is not there"
        if self.checkpoint.path.exists():
            kept = f"the last good checkpoint is kept at {self.checkpoint.path}"
        raise BrokenRun(
            f"step {self.step + 1}: the loss is {float(loss):g}, its gradient {float(size):g} "
            f"long; {kept}; begin again in another --out with a smaller --lr"
        )

    def _average(self) -> None:
        if self.course.average:
            follow(self.mean, self.student.network, self.course.average, self.step)

    @property
    def _leads(self) -> bool:
        return self.student.team.rank == 0

    def _last(self) -> str:
        if not self.history:
            return ""
        *_, clean, attacked = self.history[-1]
        return f", clean {clean:.2f}, attacked {attacked:.2f}"

    def _save(self) -> None:
        self.checkpoint.save({
            "step": self.step, "network": self.student.network.state_dict(),
            "optimiser": self.optimiser.state_dict(), "mean": self.mean, "history": self.history,
        })  # fmt: skip

    def _restore(self, state: dict[str, Any]) -> None:
        self.step, self.history = state["step"], state["history"]
        self.student.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        for name, value in state["mean"].items():
            self.mean[name].copy_(value)
