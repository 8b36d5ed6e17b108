"""TeCoA: class texts as the labels of adversarial images."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from secondlook.hardening import losses
from secondlook.hardening.aims import Confuse
from secondlook.hardening.base import Lesson, Moment, UnderAttack
from secondlook.hardening.lessons import Examples, Lessons
from secondlook.hardening.student import Student
from secondlook.registry import register


@register("method", "tecoa")
@dataclass(frozen=True, kw_only=True)
class TeCoA(UnderAttack):
    """Text-guided contrastive adversarial training of the image tower (Mao et al. 2023).

    Attributes:
        scale: what the cosines are multiplied by; 0 takes the model's own temperature.
        clean_weight: share of the same loss on the clean images.
    """

    part = "image"
    need = "classes"

    scale: float = 0.0
    clean_weight: float = 0.0

    def bind(self, student: Student, lessons: Lessons) -> Lesson:
        """Cross-entropy on what the attack made; the class texts are read once."""
        texts = student.embedder.embed_text(lessons.texts())
        scale = self.scale or float(student.scale)

        def loss(batch: Examples, moment: Moment) -> Tensor:
            aim = Confuse(student=student, texts=texts, truth=batch.truth, scale=scale)
            attacked = self.craft(aim, batch.images, moment)
            value = losses.tecoa(student.vectors(attacked), texts, batch.truth, scale).mean()
            if not self.clean_weight:
                return value
            clean = losses.tecoa(student.vectors(batch.images), texts, batch.truth, scale).mean()
            return self.clean_weight * clean + (1 - self.clean_weight) * value

        return loss
