"""Validation during a training, and the figures of the hardened embedder on held-out images."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from secondlook.attacks.pgd import PGD
from secondlook.defenses.guarded import Guarded
from secondlook.hardening.base import CrossEntropyObjective
from secondlook.hardening.dataset import Batch, Dataset
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.models.base import Classifier, Embedder, evaluating
from secondlook.models.zeroshot import ZeroShot
from secondlook.objectives.untargeted import Untargeted, UntargetedObjective
from secondlook.progress import Tick
from secondlook.randomness import Keys
from secondlook.scenes.training.measure import hit_rate
from secondlook.threat import LEVELS, Threat

SAMPLES = 128
"""Of a validation."""
STEPS = 5
"""Of the attack in a validation."""
ATTACK = PGD(steps=20, early_exit=True)
"""Of the final figures."""
BATCH = 250

Figures = dict[str, float]


class Validation(NamedTuple):
    """Shares of a few samples that are matched with their own text.

    Attributes:
        clean: of the images as they are.
        attacked: of what a short attack made of them.
    """

    clean: float
    attacked: float


class Validator:
    """Measures an embedder in training, on the same few samples each time.

    An image is right where the text of its class is the nearest, or its first caption among the
    first captions of all, where there are no classes.

    Args:
        trainable: what is measured.
        dataset: its first samples are used.
        radius: L∞ radius of the attack, in pixel units.
    """

    def __init__(self, trainable: TrainableEmbedder, dataset: Dataset, radius: float) -> None:
        self.trainable, self.threat = trainable, Threat(eps=radius, grid=LEVELS)
        batch = dataset.read(range(min(SAMPLES, len(dataset)))).to(trainable.device)
        self.batch, self.texts, self.truth = batch, *_candidates(batch, dataset)
        self.keys = Keys.of(0, batch.ids).fold("probe")

    def __call__(self) -> Validation:
        """Both shares, with the networks in eval mode."""
        with torch.no_grad(), evaluating([self.trainable.network]):
            texts = self.trainable.embed_texts(self.texts)
        objective = CrossEntropyObjective(trainable=self.trainable, texts=texts, truth=self.truth, scale=1.0)
        attack = PGD(steps=STEPS, keep_best=False, early_exit=True)
        attacked = attack(objective, self.batch.images, self.threat, self.keys).x
        return Validation(*(self._accuracy(objective, x) for x in (self.batch.images, attacked)))

    def _accuracy(self, objective: CrossEntropyObjective, x: Tensor) -> float:
        with torch.no_grad(), evaluating([self.trainable.network]):
            return float((~objective(x, self.keys).success).float().mean())


def _candidates(batch: Batch, dataset: Dataset) -> tuple[list[str], Tensor]:
    """The candidate texts, and which of them is each sample's."""
    if dataset.classes:
        return dataset.texts(), batch.truth
    firsts = [captions[0] for captions in batch.captions]
    return firsts, torch.arange(len(firsts), device=batch.truth.device)


def figures(hardened: Embedder, base: Embedder, dataset: Dataset, radius: float, tick: Tick) -> Figures:
    """Zero-shot top-1 and R@1, as far as the data has classes and captions.

    Top-1 is of the clean images, of what 20 steps of PGD on the margin made of them (``pgd20``),
    and of what the same attack on ``base`` made of them (``transfer``).
    """
    found = of_classes(hardened, base, dataset, radius, tick) if dataset.classes else {}
    return found | (of_captions(hardened, dataset) if dataset.has_captions else {})


def of_classes(hardened: Embedder, base: Embedder, dataset: Dataset, radius: float, tick: Tick) -> Figures:
    """Zero-shot top-1: clean, attacked, and attacked by transfer from ``base``."""
    own, other = (ZeroShot(each, dataset.classes, dataset.prompt) for each in (hardened, base))
    threat, right = Threat(eps=radius, grid=LEVELS), torch.zeros(3)
    for rows in torch.arange(len(dataset)).split(BATCH):
        batch = dataset.read(rows.tolist())
        keys = Keys.of(0, batch.ids)
        views = [
            batch.images,
            attacked(own, batch.images, batch.truth, threat, keys),
            attacked(other, batch.images, batch.truth, threat, keys),
        ]
        right += torch.tensor([float(_right(own, x, batch.truth).sum()) for x in views])
        tick(int(rows[-1]) + 1, len(dataset), "measuring")
    at = f"{radius * 255:g}_255"
    names = ("zero_shot_top1", f"pgd20_top1_{at}", f"transfer_top1_{at}")
    return dict(zip(names, (right / len(dataset)).tolist(), strict=True))


def attacked(model: Classifier, x: Tensor, truth: Tensor, threat: Threat, keys: Keys) -> Tensor:
    """What 20 steps of PGD on the margin make of ``x``, against ``model``."""
    objective = UntargetedObjective(goal=Untargeted(truth=truth), victim=Guarded(model))
    return ATTACK(objective, x, threat, keys).x


@torch.no_grad()
def of_captions(hardened: Embedder, dataset: Dataset) -> Figures:
    """R@1 both ways over the images and all their captions: the share of queries with a hit."""
    images, texts, owners = [], [], list[int]()
    for rows in torch.arange(len(dataset)).split(BATCH):
        batch = dataset.read(rows.tolist())
        images.append(hardened.embed(batch.images))
        texts.append(hardened.embed_text([text for own in batch.captions for text in own]))
        owners += [row for row, own in zip(rows.tolist(), batch.captions, strict=True) for _ in own]
    similarity = torch.cat(images) @ torch.cat(texts).T
    owner = torch.tensor(owners)[None, :] == torch.arange(len(dataset))[:, None]
    return {"image_to_text_r1": hit_rate(similarity, owner), "text_to_image_r1": hit_rate(similarity.T, owner.T)}


@torch.no_grad()
def _right(model: Classifier, x: Tensor, truth: Tensor) -> Tensor:
    return model(x).argmax(1) == truth
