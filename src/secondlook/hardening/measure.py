"""Figures of a hardened embedder on images that its training never saw."""

from __future__ import annotations

import torch
from torch import Tensor

from secondlook.attacks.pgd import PGD
from secondlook.defenses.undefended import Undefended
from secondlook.goals.mislead import Bout, Mislead
from secondlook.hardening.lessons import Lessons
from secondlook.models.base import Classifier, Embedder
from secondlook.models.zeroshot import ZeroShot
from secondlook.progress import Tick
from secondlook.randomness import Keys
from secondlook.scenes.training.measure import hit_rate
from secondlook.threat import Threat

ATTACK = PGD(steps=20, early_exit=True)
BATCH = 250

Figures = dict[str, float]


def figures(
    hardened: Embedder, base: Embedder, lessons: Lessons, radius: float, tick: Tick
) -> Figures:
    """Zero-shot top-1 and R@1, as far as the data has classes and captions.

    Top-1 is of the clean images, of what 20 steps of PGD on the margin made of them (``pgd20``),
    and of what the same attack on ``base`` made of them (``transfer``).
    """
    found = of_classes(hardened, base, lessons, radius, tick) if lessons.classes else {}
    return found | (of_captions(hardened, lessons) if lessons.captioned else {})


def of_classes(
    hardened: Embedder, base: Embedder, lessons: Lessons, radius: float, tick: Tick
) -> Figures:
    """Zero-shot top-1: clean, attacked, and attacked by way of ``base``."""
    own, other = (ZeroShot(each, lessons.classes, lessons.prompt) for each in (hardened, base))
    threat, right = Threat(eps=radius), torch.zeros(3)
    for rows in torch.arange(len(lessons)).split(BATCH):
        batch = lessons.read(rows.tolist())
        keys = Keys.of(0, batch.ids)
        views = [
            batch.images,
            attacked(own, batch.images, batch.truth, threat, keys),
            attacked(other, batch.images, batch.truth, threat, keys),
        ]
        right += torch.tensor([float(_right(own, x, batch.truth).sum()) for x in views])
        tick(int(rows[-1]) + 1, len(lessons), "measuring")
    at = f"{radius * 255:g}_255"
    names = ("zero_shot_top1", f"pgd20_top1_{at}", f"transfer_top1_{at}")
    return dict(zip(names, (right / len(lessons)).tolist(), strict=True))


def attacked(model: Classifier, x: Tensor, truth: Tensor, threat: Threat, keys: Keys) -> Tensor:
    """What 20 steps of PGD on the margin make of ``x``, against ``model``."""
    victim = Undefended(model=model)
    bout = Bout(goal=Mislead(truth=truth), victim=victim, classes=len(model.classes))
    return ATTACK(bout, x, threat, keys).x


@torch.no_grad()
def of_captions(hardened: Embedder, lessons: Lessons) -> Figures:
    """R@1 both ways over the images and all their captions: the share of queries with a hit."""
    images, texts, home = [], [], list[int]()
    for rows in torch.arange(len(lessons)).split(BATCH):
        batch = lessons.read(rows.tolist())
        images.append(hardened.embed(batch.images))
        texts.append(hardened.embed_text([text for own in batch.captions for text in own]))
        home += [row for row, own in zip(rows.tolist(), batch.captions, strict=True) for _ in own]
    similarity = torch.cat(images) @ torch.cat(texts).T
    owner = torch.tensor(home)[None, :] == torch.arange(len(lessons))[:, None]
    return {
        "image_to_text_r1": hit_rate(similarity, owner),
        "text_to_image_r1": hit_rate(similarity.T, owner.T),
    }


@torch.no_grad()
def _right(model: Classifier, x: Tensor, truth: Tensor) -> Tensor:
    return model(x).argmax(1) == truth
