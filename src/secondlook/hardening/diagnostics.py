"""What augmentations are like to the model: alignment, diversity, distance of distributions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.errors import InvalidInput
from secondlook.hardening.dataset import Dataset, DrawCaptions, DrawImages
from secondlook.hardening.embedder import TrainableEmbedder
from secondlook.models.base import evaluating
from secondlook.randomness import Keys

_RIDGE = 1e-4
SAMPLES = 512
DRAWS = 4


class Diagnosis(NamedTuple):
    """The four figures of arXiv 2405.18770, section 4.

    Attributes:
        alignment: mean cosine of the augmented vectors to what they should match.
        diversity: mean distance, 1 - cosine, between two augmentations of one sample.
        frechet: squared Fréchet distance of the augmented from the original distribution.
        divergence: KL divergence of the augmented from the original, in nats.
    """

    alignment: float
    diversity: float
    frechet: float
    divergence: float


def diagnose(augmented: Tensor, original: Tensor, partners: Tensor) -> Diagnosis:
    """All four figures.

    Args:
        augmented: vectors ``[B, N, D]``: of each sample N augmentations.
        original: vectors ``[B, D]`` of the samples themselves.
        partners: vectors ``[B, D]`` of what belongs to them in the other modality.

    Raises:
        InvalidInput: the numbers of samples differ, or there are fewer than two.
    """
    if not len(augmented) == len(original) == len(partners) > 1:
        raise InvalidInput(
            f"{len(augmented)} augmented, {len(original)} original samples, {len(partners)} "
            "partners; give as many of each, and two or more"
        )
    return Diagnosis(
        alignment=alignment(augmented, partners),
        diversity=diversity(augmented),
        frechet=frechet(augmented.flatten(0, 1), original),
        divergence=divergence(augmented.flatten(0, 1), original),
    )


def alignment(augmented: Tensor, partners: Tensor) -> float:
    """Mean cosine of ``[B, N, D]`` to ``[B, D]``."""
    return float(F.cosine_similarity(augmented, partners[:, None], dim=-1).mean())


def diversity(augmented: Tensor) -> float:
    """Mean of 1 - cosine over all pairs of a sample's N augmentations; 0 where there is one."""
    unit = F.normalize(augmented, dim=-1)
    count = unit.shape[1]
    if count < 2:
        return 0.0
    cosines = unit @ unit.transpose(1, 2)
    own = cosines.diagonal(dim1=1, dim2=2).sum(1)
    return float((1 - (cosines.sum((1, 2)) - own) / (count * (count - 1))).mean())


def frechet(one: Tensor, other: Tensor) -> float:
    """Squared Fréchet distance of the Gaussians fitted to ``[n, D]`` and ``[m, D]``."""
    (mean, cov), (mean2, cov2) = _gaussian(one), _gaussian(other)
    root = _root(cov)
    # The eigenvalues of the product of two covariances are those of this symmetric matrix.
    cross = torch.linalg.eigvalsh(root @ cov2 @ root).clamp_min(0).sqrt().sum()
    distance = (mean - mean2).square().sum() + cov.trace() + cov2.trace() - 2 * cross
    return max(float(distance), 0.0)


def divergence(one: Tensor, other: Tensor) -> float:
    """KL(one || other) in nats of the Gaussians fitted to ``[n, D]`` and ``[m, D]``.

    Both covariances get a ridge, a small share of the other's mean variance, since there may be
    fewer samples than dimensions.
    """
    (mean, cov), (mean2, cov2) = _gaussian(one), _gaussian(other)
    size = cov.shape[0]
    ridge = _RIDGE * cov2.trace() / size * torch.eye(size, dtype=cov.dtype)
    cov, cov2 = cov + ridge, cov2 + ridge
    away = mean2 - mean
    spread = torch.linalg.solve(cov2, cov).trace() + away @ torch.linalg.solve(cov2, away)
    return float(0.5 * (spread - size + torch.logdet(cov2) - torch.logdet(cov)))


def _gaussian(x: Tensor) -> tuple[Tensor, Tensor]:
    exact = x.detach().cpu().double()
    return exact.mean(0), exact.T.cov(correction=0)


def _root(cov: Tensor) -> Tensor:
    values, vectors = torch.linalg.eigh(cov)
    root: Tensor = (vectors * values.clamp_min(0).sqrt()) @ vectors.T
    return root


def diagnose_augmentation(
    trainable: TrainableEmbedder,
    dataset: Dataset,
    captions: Mapping[str, DrawCaptions],
    images: Mapping[str, DrawImages],
) -> dict[str, Diagnosis]:
    """The four figures of each augmentation, over the first samples of the data.

    Args:
        trainable: whose vectors they are of, in eval mode.
        dataset: the data.
        captions: caption augmentations by name; compared with first captions, to match the images.
        images: image augmentations by name; compared with the images, to match first captions.
    """
    batch = dataset.read(range(min(SAMPLES, len(dataset)))).to(trainable.device)
    keys = [Keys.of(0, batch.ids).fold("diagnosis", draw) for draw in range(DRAWS)]
    found: dict[str, Diagnosis] = {}
    with torch.no_grad(), evaluating([trainable.network]):
        clean = trainable.embed_images(batch.images)
        firsts = trainable.embed_texts(batch.pick_captions(keys[0], "first"))
        for name, draw in captions.items():
            made = torch.stack([trainable.embed_texts(draw(batch, each)) for each in keys], 1)
            found[name] = diagnose(made, firsts, clean)
        for name, draw_images in images.items():
            made = torch.stack([trainable.embed_images(draw_images(batch, each)) for each in keys], 1)
            found[name] = diagnose(made, clean, firsts)
    return found
