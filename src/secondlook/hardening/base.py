"""What every method of hardening answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Protocol

from torch import Tensor

from secondlook.attacks.base import Objective
from secondlook.attacks.pgd import PGD
from secondlook.errors import InvalidInput
from secondlook.hardening.diagnostics import Diagnosis
from secondlook.hardening.lessons import Examples, Lessons, Need
from secondlook.hardening.student import Part, Student
from secondlook.randomness import Keys
from secondlook.threat import Pixels, Threat


class Moment(NamedTuple):
    """Where a training is.

    Attributes:
        keys: one key per sample of the step's batch.
        done: share of all steps that lies behind, in [0, 1).
    """

    keys: Keys
    done: float


class Lesson(Protocol):
    """A method bound to a student and its data: the loss of a batch, a scalar in fp32."""

    def __call__(self, batch: Examples, moment: Moment) -> Tensor: ...


@dataclass(frozen=True, kw_only=True)
class Method(ABC):
    """What a hardening teaches.

    Attributes:
        part: what of the model learns.
        need: what the data must have.
    """

    part: ClassVar[Part]
    need: ClassVar[Need]

    @abstractmethod
    def bind(self, student: Student, lessons: Lessons) -> Lesson:
        """The loss for this student, which still has its original weights."""

    def diagnose(self, student: Student, lessons: Lessons) -> Mapping[str, Diagnosis]:
        """What its augmented texts and images are like to the original model; none, as a rule."""
        return {}

    @property
    def radius(self) -> float:
        """The radius at which the result is measured, in pixel units."""
        return 8 / 255


@dataclass(frozen=True, kw_only=True)
class UnderAttack(Method):
    """A method that shows the student what a short attack on it has made.

    Attributes:
        eps: L∞ radius in pixel units.
        attack_steps: gradient steps of the attack inside, from a random start.
        attack_step: length of a step in pixel units; 0 takes 2.5 eps / attack_steps.
        momentum: share of the last direction that the attack keeps.
        friendly: a sample that is fooled is attacked no further (Zhang et al. 2020).
        ramp: share of the training over which the radius grows from nothing to ``eps``.

    Raises:
        InvalidInput: a ramp or momentum outside [0, 1].
    """

    eps: Pixels = 2 / 255
    attack_steps: int = 2
    attack_step: Pixels = 0.0
    momentum: float = 0.0
    friendly: bool = False
    ramp: float = 0.0

    def __post_init__(self) -> None:
        Threat(eps=self.eps)
        for field in ("ramp", "momentum"):
            if not 0 <= getattr(self, field) <= 1:
                raise InvalidInput(f"{field}={getattr(self, field):g}; write a share, 0 to 1")

    @property
    def radius(self) -> float:
        """The radius that it is trained at."""
        return self.eps

    def grown(self, done: float) -> float:
        """The share of the radius at this moment of the training."""
        return 1.0 if done >= self.ramp else max(done / self.ramp, 1e-3)

    def craft(self, aim: Objective, x: Tensor, moment: Moment) -> Tensor:
        """What the attack makes of ``x``, ``[B, 3, H, W]`` on the 8-bit grid."""
        grown = self.grown(moment.done)
        attack = PGD(
            steps=self.attack_steps, step=self.attack_step * grown, momentum=self.momentum,
            keep_best=False, early_exit=self.friendly,
        )  # fmt: skip
        return attack(aim, x, Threat(eps=self.eps * grown), moment.keys.fold("inner")).x
