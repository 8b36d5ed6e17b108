"""MAT+: multimodal adversarial training on many captions and many looks of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.hardening.augment.eda import EDA
from secondlook.hardening.augment.mixture import TextMixture, check, repainted
from secondlook.hardening.augment.paraphrase import paraphrase
from secondlook.hardening.augment.randaug import Kind, RandAugment
from secondlook.hardening.base import Moment
from secondlook.hardening.diagnostics import Diagnosis, diagnose
from secondlook.hardening.lessons import Examples, Lessons
from secondlook.hardening.methods.mat import MAT
from secondlook.hardening.student import Student
from secondlook.models.base import evaluating
from secondlook.randomness import Keys
from secondlook.registry import register

_DIAGNOSED = 512
_DRAWS = 4


@register("method", "mat+")
@dataclass(frozen=True, kw_only=True)
class MATPlus(MAT):
    """MAT with one-to-many augmentation of captions, images or both (arXiv 2405.18770).

    Captions alone make it 1:N, images alone N:1, both N:N. The weights are shares; each sample
    draws anew in each step.

    Attributes:
        original: weight of an image's first caption.
        human: weight of one of its other captions.
        eda: weight of its first caption after easy data augmentation.
        paraphrase: weight of its first caption in other words of the embedded world's grammar.
        looks: chance of an image to go through RandAugment.
        count: RandAugment's operations on an image.
        strength: their strength, 1 at most.
        kind: ``colour`` for operations that leave every thing where it is, or ``all``.

    Raises:
        InvalidInput: as ``MAT``, a negative weight, or a chance outside [0, 1].
    """

    original: float = 1.0
    human: float = 4.0
    eda: float = 0.0
    paraphrase: float = 0.0
    looks: float = 0.0
    count: int = 2
    strength: float = 0.3
    kind: Kind = "colour"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.captions != "first":
            raise InvalidInput(f"captions={self.captions}: mat+ has weights; write original=0, say")
        check(self.texts.weights)
        check({"1 - looks": 1 - self.looks, "looks": self.looks})
        self.randaugment  # noqa: B018 - it says what is wrong with its settings

    def diagnose(self, student: Student, lessons: Lessons) -> Mapping[str, Diagnosis]:
        """Of captions, and of images where they are repainted; over the first samples."""
        batch = lessons.read(range(min(_DIAGNOSED, len(lessons)))).to(student.device)
        keys = [Keys.of(0, batch.ids).fold("diagnosis", draw) for draw in range(_DRAWS)]
        moments = [Moment(each, 1.0) for each in keys]
        with torch.no_grad(), evaluating([student.network]):
            images, firsts = (
                student.look(batch.images),
                student.read(batch.chosen(keys[0], "first")),
            )
            told = torch.stack([student.read(self.told(batch, each)) for each in moments], 1)
            found = {"captions": diagnose(told, firsts, images)}
            if self.looks:
                seen = [student.look(self.shown(batch, each)) for each in moments]
                found["images"] = diagnose(torch.stack(seen, 1), images, firsts)
        return found

    @property
    def texts(self) -> TextMixture:
        """The ways to a caption."""
        eda = EDA()
        return TextMixture(
            ways={
                "original": lambda batch, keys: batch.chosen(keys, "first"),
                "human": lambda batch, keys: batch.chosen(keys, "others"),
                "eda": lambda batch, keys: eda(batch.chosen(keys, "first"), keys),
                "paraphrase": lambda batch, keys: paraphrase(batch.chosen(keys, "first"), keys),
            },
            weights={name: getattr(self, name)
                     for name in ("original", "human", "eda", "paraphrase")},
        )  # fmt: skip

    @property
    def randaugment(self) -> RandAugment:
        """What is done to an image."""
        return RandAugment(count=self.count, strength=self.strength, kind=self.kind)

    def told(self, batch: Examples, moment: Moment) -> list[str]:
        """A caption of each image, by one of the ways."""
        return self.texts(batch, moment.keys.fold("augment"))

    def shown(self, batch: Examples, moment: Moment) -> Tensor:
        """The images, some of them through RandAugment."""
        weights = {"kept": 1 - self.looks, "looks": self.looks}
        return repainted(batch.images, moment.keys.fold("augment"), self.randaugment, weights)
