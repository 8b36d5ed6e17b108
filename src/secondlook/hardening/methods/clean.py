"""Plain fine-tuning: the contrastive loss on pairs that nobody has attacked."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from secondlook.hardening.base import Lesson, Method, Moment
from secondlook.hardening.lessons import Examples, Lessons
from secondlook.hardening.student import Student
from secondlook.registry import register


@register("method", "clean")
@dataclass(frozen=True, kw_only=True)
class Clean(Method):
    """Contrastive fine-tuning of both towers on clean pairs: what the others are compared with."""

    part = "all"
    need = "captions"

    def bind(self, student: Student, lessons: Lessons) -> Lesson:
        """InfoNCE between the images and one caption of each."""

        def loss(batch: Examples, moment: Moment) -> Tensor:
            texts = student.read(batch.chosen(moment.keys))
            return student.contrast(student.look(batch.images), texts)

        return loss
