"""A quick look at a student during its training: right on clean images, and under attack."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from secondlook.attacks.pgd import PGD
from secondlook.hardening.aims import Confuse
from secondlook.hardening.lessons import Examples, Lessons
from secondlook.hardening.student import Student
from secondlook.models.base import evaluating
from secondlook.randomness import Keys
from secondlook.threat import Threat

SAMPLES = 128
STEPS = 5


class Glance(NamedTuple):
    """Shares of a few samples that are matched with their own text.

    Attributes:
        clean: of the images as they are.
        attacked: of what a short attack made of them.
    """

    clean: float
    attacked: float


class Probe:
    """The same few samples, looked at again and again.

    An image is right where the text of its class is the nearest, or its first caption among the
    first captions of all, where there are no classes.

    Args:
        student: who is looked at.
        lessons: the samples are its first ones.
        radius: L∞ radius of the attack, in pixel units.
    """

    def __init__(self, student: Student, lessons: Lessons, radius: float) -> None:
        self.student, self.threat = student, Threat(eps=radius)
        held = lessons.read(range(min(SAMPLES, len(lessons)))).to(student.device)
        self.held, self.texts, self.truth = held, *_asked(held, lessons)
        self.keys = Keys.of(0, held.ids).fold("probe")

    def __call__(self) -> Glance:
        """Both shares, with the student in eval mode."""
        with torch.no_grad(), evaluating([self.student.network]):
            texts = self.student.read(self.texts)
        aim = Confuse(student=self.student, texts=texts, truth=self.truth, scale=1.0)
        attack = PGD(steps=STEPS, keep_best=False, early_exit=True)
        attacked = attack(aim, self.held.images, self.threat, self.keys).x
        return Glance(*(self._right(aim, x) for x in (self.held.images, attacked)))

    def _right(self, aim: Confuse, x: Tensor) -> float:
        with torch.no_grad(), evaluating([self.student.network]):
            return float((~aim(x, self.keys).reached).float().mean())


def _asked(held: Examples, lessons: Lessons) -> tuple[list[str], Tensor]:
    """The candidate texts, and which of them is each sample's."""
    if lessons.classes:
        return lessons.texts(), held.truth
    firsts = [captions[0] for captions in held.captions]
    return firsts, torch.arange(len(firsts), device=held.truth.device)
