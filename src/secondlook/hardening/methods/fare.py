"""FARE: adversarial images keep the vectors that the original model gave the clean ones."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.hardening import losses
from secondlook.hardening.aims import Stray
from secondlook.hardening.base import Lesson, Moment, UnderAttack
from secondlook.hardening.lessons import Examples, Lessons
from secondlook.hardening.student import Student
from secondlook.models.base import evaluating
from secondlook.registry import register


@register("method", "fare")
@dataclass(frozen=True, kw_only=True)
class FARE(UnderAttack):
    """Unsupervised adversarial training of the image tower (Schlarmann et al. 2024).

    Attributes:
        clean_weight: share of the same loss on the clean images.
    """

    part = "image"
    need = "images"

    clean_weight: float = 0.0

    def bind(self, student: Student, lessons: Lessons) -> Lesson:
        """Squared distance to what a frozen copy of the model sees in the clean images."""
        original = copy.deepcopy(student)
        original.network.requires_grad_(False)

        def loss(batch: Examples, moment: Moment) -> Tensor:
            with torch.no_grad(), evaluating([original.network]):
                targets = original.vectors(batch.images)
            attacked = self.craft(Stray(student=student, targets=targets), batch.images, moment)
            value = losses.fare(student.vectors(attacked), targets).mean()
            if not self.clean_weight:
                return value
            clean = losses.fare(student.vectors(batch.images), targets).mean()
            return self.clean_weight * clean + (1 - self.clean_weight) * value

        return loss
