"""MAT+: multimodal adversarial training with one-to-many augmentation of captions and images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from secondlook.bounds import Count, Share, Weight
from secondlook.errors import InvalidInput
from secondlook.hardening.base import StepContext
from secondlook.hardening.crossmodal import GeneratedCaptions, GeneratedImages, load_model
from secondlook.hardening.dataset import Batch, Dataset, DrawCaptions, DrawImages
from secondlook.hardening.diagnostics import Diagnosis, diagnose_augmentation
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.hardening.mat import MAT
from secondlook.hardening.randaugment import Kind, RandAugment
from secondlook.hardening.text_augmentation import EDA, Rewriter, paraphrase
from secondlook.models.captioner import Captioner
from secondlook.models.painter import Painter
from secondlook.randomness import Keys
from secondlook.registry import register


def choose(weights: Mapping[str, float], keys: Keys) -> list[str]:
    """A source for each sample, with chances in proportion to the weights.

    Raises:
        InvalidInput: a weight is negative, or none is above 0.
    """
    check_weights(weights)
    bounds = torch.tensor(list(weights.values())).cumsum(0)
    at = keys.uniform((1,)).flatten() * bounds[-1]
    rows = torch.searchsorted(bounds, at, right=True).clamp(max=len(bounds) - 1)
    return [list(weights)[row] for row in rows.tolist()]


def check_weights(weights: Mapping[str, float]) -> None:
    """Refuses weights that nothing can be drawn by.

    Raises:
        InvalidInput: a weight is negative, or none is above 0.
    """
    for name, weight in weights.items():
        if weight < 0:
            raise InvalidInput(f"{name}={weight:g}; a weight is 0 or more")
    if not any(weights.values()):
        raise InvalidInput(f"{', '.join(weights)} are all 0; give one of them a weight")


@dataclass(frozen=True, kw_only=True)
class CaptionMixture:
    """One caption of each image, from one of several sources.

    Attributes:
        sources: by name.
        weights: by the same names.
    """

    sources: Mapping[str, DrawCaptions]
    weights: Mapping[str, float]

    def __call__(self, batch: Batch, keys: Keys) -> list[str]:
        """``B`` captions; each source is given its own samples alone."""
        names = choose(self.weights, keys.fold("text"))
        found: list[str] = [""] * len(names)
        for name in dict.fromkeys(names):
            rows = _rows(names, name)
            texts = self.sources[name](batch.take(rows), keys[torch.tensor(rows)])
            for row, text in zip(rows, texts, strict=True):
                found[row] = text
        return found


@dataclass(frozen=True, kw_only=True)
class ImageMixture:
    """One image for each, from one of several sources, or unchanged.

    Attributes:
        sources: by name.
        weights: by the same names, after that of an unchanged image.
    """

    sources: Mapping[str, DrawImages]
    weights: Mapping[str, float]

    def __call__(self, batch: Batch, keys: Keys) -> Tensor:
        """``[B, 3, H, W]``; each source is given its own samples alone."""
        names = choose(self.weights, keys.fold("image"))
        made = batch.images
        for name in dict.fromkeys(names):
            if name not in self.sources:
                continue
            rows = _rows(names, name)
            images = self.sources[name](batch.take(rows), keys[torch.tensor(rows)])
            made = made.clone() if made is batch.images else made
            made[torch.tensor(rows, device=made.device)] = images
        return made


def _rows(names: Sequence[str], name: str) -> list[int]:
    return [row for row, each in enumerate(names) if each == name]


_CAPTION_SOURCES = ("original", "human", "eda", "paraphrase", "captioned", "rewritten")


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
        randaugment: chance of an image to go through RandAugment.
        painted: chance of an image to be a picture of its first caption by ``painter``.
        count: RandAugment's operations on an image.
        strength: their strength, 1 at most.
        kind: ``color`` for operations that move nothing, or ``all``.
        captioner: a captioner, or its name.
        rewriter: a sequence-to-sequence network of transformers: a folder, or a name of the hub.
        rewriter_prompt: what the rewriter is given, ``paraphrase: {}`` say; ``{}`` is the caption.
        painter: a painter, or its name.
        variants: how many captions are written, and pictures painted, for each sample.

    Raises:
        InvalidInput: as ``MAT``, a negative weight, chances that are more than 1 together, no
            rewriter where one has a weight, or fewer variants than one.
    """

    original: Weight = 1.0
    human: Weight = 4.0
    eda: Weight = 0.0
    paraphrase: Weight = 0.0
    captioned: Weight = 0.0
    rewritten: Weight = 0.0
    randaugment: Weight = 0.0
    painted: Weight = 0.0
    count: Count = 2
    strength: Share = 0.3
    kind: Kind = "color"
    captioner: Any = "scenes:captioner"
    rewriter: str = ""
    rewriter_prompt: str = "{}"
    painter: Any = "scenes:painter-grammar"
    variants: Count = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.captions != "first":
            raise InvalidInput(f"captions={self.captions}: mat+ has weights; write original=0, say")
        check_weights({name: getattr(self, name) for name in _CAPTION_SOURCES})
        check_weights(self._shares)
        self.image_operations  # noqa: B018 - it says what is wrong with its settings
        if self.rewritten and not self.rewriter:
            raise InvalidInput("rewritten needs a rewriter; write rewriter=FOLDER")

    def diagnose(self, trainable: TrainableEmbedder, dataset: Dataset) -> Mapping[str, Diagnosis]:
        """Of all captions and images as they are drawn, and of each source by itself."""
        captions: dict[str, DrawCaptions] = {"captions": self.texts}
        captions |= {
            f"captions, {name}": source
            for name, source in self.texts.sources.items()
            if getattr(self, name) and name != "original"
        }
        images: dict[str, DrawImages] = {}
        if self.randaugment or self.painted:
            images = {"images": self.images}
            images |= {f"images, {name}": source for name, source in self.images.sources.items()}
        return diagnose_augmentation(trainable, dataset, captions, images)

    @cached_property
    def texts(self) -> CaptionMixture:
        """Where captions come from; models are loaded for those that have a weight."""
        sources: dict[str, DrawCaptions] = {
            "original": lambda batch, keys: batch.pick_captions(keys, "first"),
            "human": lambda batch, keys: batch.pick_captions(keys, "others"),
            "eda": partial(_rewrite, EDA()),
            "paraphrase": partial(_rewrite, paraphrase),
        }
        if self.captioned:
            captioner = load_model(self.captioner, Captioner, "captioner", "scenes:captioner")
            sources["captioned"] = GeneratedCaptions(captioner=captioner, variants=self.variants)
        if self.rewritten:
            sources["rewritten"] = partial(_rewrite, Rewriter(self.rewriter, self.rewriter_prompt))
        return CaptionMixture(sources=sources, weights={name: getattr(self, name) for name in _CAPTION_SOURCES})

    @cached_property
    def images(self) -> ImageMixture:
        """Where images come from; models are loaded for those that have a chance."""
        sources: dict[str, DrawImages] = {}
        if self.randaugment:
            sources["randaugment"] = lambda batch, keys: self.image_operations(batch.images, keys)
        if self.painted:
            painter = load_model(self.painter, Painter, "painter", "scenes:painter-grammar")
            sources["painted"] = GeneratedImages(painter=painter, variants=self.variants)
        return ImageMixture(sources=sources, weights=self._shares)

    @property
    def image_operations(self) -> RandAugment:
        """RandAugment, as it is set."""
        return RandAugment(count=self.count, strength=self.strength, kind=self.kind)

    @property
    def _shares(self) -> dict[str, float]:
        """The share of images from each source."""
        rest = 1 - self.randaugment - self.painted
        return {"1 - randaugment - painted": rest, "randaugment": self.randaugment, "painted": self.painted}

    def draw_captions(self, batch: Batch, context: StepContext) -> list[str]:
        """A caption of each image, from one of the sources."""
        return self.texts(batch, context.keys.fold("augment"))

    def draw_images(self, batch: Batch, context: StepContext) -> Tensor:
        """The images, some of them from one of the sources."""
        return self.images(batch, context.keys.fold("augment"))


def _rewrite(rewrite: Any, batch: Batch, keys: Keys) -> list[str]:
    """First captions, rewritten."""
    rewritten: list[str] = rewrite(batch.pick_captions(keys, "first"), keys)
    return rewritten
