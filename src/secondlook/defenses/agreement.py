"""How far other models disagree with an answer, and the score that a rejection has for it."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

Quorum = Literal["any", "all", "mean"]
QUORUMS: tuple[Quorum, ...] = get_args(Quorum)


def gaps(views: Tensor, answer: Tensor) -> Tensor:
    """How far each opinion prefers another class, ``[B, M]``.

    Args:
        views: scores of the opinions, ``[B, M, K]``.
        answer: the classifier's class, ``[B]``.
    """
    at = answer[:, None, None].expand(-1, views.shape[1], 1)
    return (views.amax(2) - views.gather(2, at)[..., 0]).abs()


def overall(each: Tensor, rule: Quorum) -> Tensor:
    """One gap ``[B]`` for those of all opinions ``[B, M]``."""
    if rule == "mean":
        return each.mean(1)
    return each.amax(1) if rule == "any" else each.amin(1)


def appended(scores: Tensor, gap: Tensor, tolerance: float) -> Tensor:
    """Scores ``[B, K + 1]`` whose last column leads where the input is rejected.

    It is ``max_j f_j + gap - tolerance``, added in this order and in the precision of the scores:
    logits so large that they absorb the gap, and ties, are accepted (arXiv 2412.10353, section 3).
    """
    rejection = scores.amax(1) + gap - tolerance
    return torch.cat([scores, rejection[:, None]], 1)
