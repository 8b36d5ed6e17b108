"""MAT+: multimodal adversarial training on many captions and many looks of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from torch import Tensor

from secondlook.errors import InvalidInput
from secondlook.hardening.augment.crossing import Painted, Written, helper
from secondlook.hardening.augment.describing import described
from secondlook.hardening.augment.eda import EDA
from secondlook.hardening.augment.mixture import ImageMixture, Show, Tell, TextMixture, check
from secondlook.hardening.augment.paraphrase import paraphrase
from secondlook.hardening.augment.randaug import Kind, RandAugment
from secondlook.hardening.augment.rewriting import Rewriter
from secondlook.hardening.base import Moment
from secondlook.hardening.diagnostics import Diagnosis
from secondlook.hardening.lessons import Examples, Lessons
from secondlook.hardening.methods.mat import MAT
from secondlook.hardening.student import Student
from secondlook.models.captioner import Captioner
from secondlook.models.painter import Painter
from secondlook.randomness import Keys
from secondlook.registry import register

_TEXTS = ("original", "human", "eda", "paraphrase", "captioned", "rewritten")


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
        captioned: weight of a caption by ``captioner``, image to text.
        rewritten: weight of its first caption in the words of ``rewriter``.
        looks: chance of an image to go through RandAugment.
        painted: chance of an image to be a picture of its first caption by ``painter``.
        count: RandAugment's operations on an image.
        strength: their strength, 1 at most.
        kind: ``colour`` for operations that leave every thing where it is, or ``all``.
        captioner: a captioner, or its name.
        rewriter: a sequence-to-sequence network of transformers: a folder, or a name of the hub.
        asked: what the rewriter is asked, ``paraphrase: {}`` say; ``{}`` is the caption.
        painter: a painter, or its name.
        takes: how many captions are written, and pictures painted, for each sample.

    Raises:
        InvalidInput: as ``MAT``, a negative weight, chances that are more than 1 together, no
            rewriter where one has a weight, or fewer takes than one.
    """

    original: float = 1.0
    human: float = 4.0
    eda: float = 0.0
    paraphrase: float = 0.0
    captioned: float = 0.0
    rewritten: float = 0.0
    looks: float = 0.0
    painted: float = 0.0
    count: int = 2
    strength: float = 0.3
    kind: Kind = "colour"
    captioner: Any = "scenes:captioner"
    rewriter: str = ""
    asked: str = "{}"
    painter: Any = "scenes:painter-grammar"
    takes: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.captions != "first":
            raise InvalidInput(f"captions={self.captions}: mat+ has weights; write original=0, say")
        check({name: getattr(self, name) for name in _TEXTS})
        check(self._shares)
        self.randaugment  # noqa: B018 - it says what is wrong with its settings
        if self.rewritten and not self.rewriter:
            raise InvalidInput("rewritten needs a rewriter; write rewriter=FOLDER")
        if self.takes < 1:
            raise InvalidInput(f"takes={self.takes}; write 1 or more")

    def diagnose(self, student: Student, lessons: Lessons) -> Mapping[str, Diagnosis]:
        """Of all captions and images as they are drawn, and of each way to them by itself."""
        tells: dict[str, Tell] = {"captions": self.texts}
        tells |= {f"captions, {name}": way for name, way in self.texts.ways.items()
                  if getattr(self, name) and name != "original"}  # fmt: skip
        shows: dict[str, Show] = {}
        if self.looks or self.painted:
            shows = {"images": self.images}
            shows |= {f"images, {name}": way for name, way in self.images.ways.items()}
        return described(student, lessons, tells, shows)

    @cached_property
    def texts(self) -> TextMixture:
        """The ways to a caption; models are read for those that have a weight."""
        ways: dict[str, Tell] = {
            "original": lambda batch, keys: batch.chosen(keys, "first"),
            "human": lambda batch, keys: batch.chosen(keys, "others"),
            "eda": partial(_rewrite, EDA()),
            "paraphrase": partial(_rewrite, paraphrase),
        }
        if self.captioned:
            teller = helper(self.captioner, Captioner, "captioner", "scenes:captioner")
            ways["captioned"] = Written(captioner=teller, takes=self.takes)
        if self.rewritten:
            ways["rewritten"] = partial(_rewrite, Rewriter(self.rewriter, self.asked))
        return TextMixture(ways=ways, weights={name: getattr(self, name) for name in _TEXTS})

    @cached_property
    def images(self) -> ImageMixture:
        """The ways to an image, of those that have a chance."""
        ways: dict[str, Show] = {}
        if self.looks:
            ways["looks"] = lambda batch, keys: self.randaugment(batch.images, keys)
        if self.painted:
            hand = helper(self.painter, Painter, "painter", "scenes:painter-grammar")
            ways["painted"] = Painted(painter=hand, takes=self.takes)
        return ImageMixture(ways=ways, weights=self._shares)

    @property
    def randaugment(self) -> RandAugment:
        """RandAugment, as it is set."""
        return RandAugment(count=self.count, strength=self.strength, kind=self.kind)

    @property
    def _shares(self) -> dict[str, float]:
        """What becomes of the images, in shares."""
        rest = 1 - self.looks - self.painted
        return {"1 - looks - painted": rest, "looks": self.looks, "painted": self.painted}

    def told(self, batch: Examples, moment: Moment) -> list[str]:
        """A caption of each image, by one of the ways."""
        return self.texts(batch, moment.keys.fold("augment"))

    def shown(self, batch: Examples, moment: Moment) -> Tensor:
        """The images, some of them by one of the ways."""
        return self.images(batch, moment.keys.fold("augment"))


def _rewrite(way: Any, batch: Examples, keys: Keys) -> list[str]:
    """First captions, rewritten."""
    rewritten: list[str] = way(batch.chosen(keys, "first"), keys)
    return rewritten
