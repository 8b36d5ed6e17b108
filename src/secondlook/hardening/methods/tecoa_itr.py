"""TeCoA for retrieval: captions as the labels of adversarial images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.hardening.aims import Confuse
from secondlook.hardening.base import Lesson, Moment, UnderAttack
from secondlook.hardening.lessons import Examples, Lessons
from secondlook.hardening.student import Student
from secondlook.models.base import evaluating
from secondlook.registry import register


@register("method", "tecoa-itr")
@dataclass(frozen=True, kw_only=True)
class TeCoARetrieval(UnderAttack):
    """Contrastive training of both towers, on images that were attacked (arXiv 2405.18770).

    The attack climbs the cross-entropy of each image over the captions of its batch.
    """

    part = "all"
    need = "captions"

    def bind(self, student: Student, lessons: Lessons) -> Lesson:
        """InfoNCE between what the attack made and one caption of each image."""

        def loss(batch: Examples, moment: Moment) -> Tensor:
            captions = batch.chosen(moment.keys)
            with torch.no_grad(), evaluating([student.network]):
                texts, scale = student.team.gather(student.read(captions)), student.scale
            first = student.team.rank * len(captions)
            own = torch.arange(first, first + len(captions), device=texts.device)
            aim = Confuse(student=student, texts=texts, truth=own, scale=scale)
            images = student.look(self.craft(aim, batch.images, moment))
            return student.contrast(images, student.read(captions))

        return loss
