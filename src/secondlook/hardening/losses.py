"""The losses of the methods, as plain mathematics over vectors; one value a sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def tecoa(vectors: Tensor, texts: Tensor, truth: Tensor, scale: float | Tensor = 100.0) -> Tensor:
    """Cross-entropy over the cosines to class texts, ``[B]`` (TeCoA, Mao et al. 2023, section 4).

    Args:
        vectors: ``[B, D]`` of any length; they are normalised here.
        texts: unit vectors of the classes, ``[K, D]``.
        truth: class of each sample, ``[B]``.
        scale: what the cosines are multiplied by; CLIP's is 100.
    """
    logits = scale * F.normalize(vectors.float(), dim=-1) @ texts.T
    return F.cross_entropy(logits, truth, reduction="none")


def fare(vectors: Tensor, targets: Tensor) -> Tensor:
    """Squared distance to the clean vectors of the original model, ``[B]`` (FARE, equation 3).

    Schlarmann et al. 2024. It is summed over the dimensions, and nothing is normalised.

    Args:
        vectors: ``[B, D]``.
        targets: ``[B, D]``.
    """
    return (vectors.float() - targets.float()).square().sum(1)


def infonce(images: Tensor, texts: Tensor, scale: float | Tensor) -> Tensor:
    """Contrastive loss of matched pairs in both directions, ``[B]`` (Radford et al. 2021).

    Args:
        images: unit vectors ``[B, D]``.
        texts: unit vectors ``[B, D]``, in the same order.
        scale: inverse temperature.
    """
    logits = scale * images @ texts.T
    own = torch.arange(len(images), device=images.device)
    there, back = (F.cross_entropy(each, own, reduction="none") for each in (logits, logits.T))
    return (there + back) / 2
