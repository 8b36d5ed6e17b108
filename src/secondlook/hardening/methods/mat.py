"""MAT: both sides of a pair are attacked, one after the other, and the pair is learnt again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from secondlook.attacks.pairs import Pairs
from secondlook.errors import InvalidInput
from secondlook.hardening.base import Lesson, Moment, UnderAttack
from secondlook.hardening.lessons import Examples, Lessons, Which
from secondlook.hardening.schedule import Order, Schedule
from secondlook.hardening.student import Student
from secondlook.registry import register
from secondlook.threat import Threat


@register("method", "mat")
@dataclass(frozen=True, kw_only=True)
class MAT(UnderAttack):
    """Multimodal adversarial training of both towers on images and captions (arXiv 2405.18770).

    Attributes:
        order: which side is attacked first: ``t-i``, ``i-t``, or ``simultaneous``.
        words: words of a caption that may be replaced.
        candidates: what the masked language model offers for each.
        mlm: that model, or its name.
        captions: ``first`` pairs each image with one caption for good, as published; ``any`` with
            one of all its own in each step, ``others`` with one of all but the first.

    Raises:
        InvalidInput: as ``UnderAttack``, or a friendly attack, of which there is none on pairs.
    """

    part = "all"
    need = "captions"

    order: Order = "t-i"
    words: int = 1
    candidates: int = 10
    mlm: Any = "scenes:mlm"
    captions: Which = "first"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.friendly:
            raise InvalidInput("friendly=true: a pair is never fooled for good; leave it away")

    @property
    def schedule(self) -> Schedule:
        """The attack inside."""
        pace = self.attack_step * self.attack_steps / self.eps if self.attack_step else 2.5
        return Schedule(
            order=self.order, words=self.words, candidates=self.candidates, mlm=self.mlm,
            steps=self.attack_steps, pace=pace, momentum=self.momentum,
        )  # fmt: skip

    def bind(self, student: Student, lessons: Lessons) -> Lesson:
        """InfoNCE between what the attack made of the images and of one caption of each."""
        schedule = self.schedule

        def loss(batch: Examples, moment: Moment) -> Tensor:
            told, shown = self.told(batch, moment), self.shown(batch, moment)
            pairs = Pairs(shown, tuple((text,) for text in told))
            threat = Threat(eps=self.eps * self.grown(moment.done))
            with student.casting():
                found = schedule(student.embedder, pairs, threat, moment.keys.fold("inner"))
            texts = student.read([text for (text,) in found.captions])
            return student.contrast(student.look(found.images), texts)

        return loss

    def told(self, batch: Examples, moment: Moment) -> list[str]:
        """A caption of each image; a seam for augmentation."""
        return batch.chosen(moment.keys, self.captions)

    def shown(self, batch: Examples, moment: Moment) -> Tensor:
        """The images; a seam for augmentation."""
        return batch.images
