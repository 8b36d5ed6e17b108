"""How far one vector is from another, when both are read as scores of a distribution."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def divergence(origin: Tensor, other: Tensor) -> Tensor:
    """Kullback-Leibler divergence of softmax(``other``) from softmax(``origin``), ``[..., D]``.

    It is what Co-Attack (arXiv 2206.09391) moves embeddings by. Around ``origin`` its gradient is
    zero, so that a climb must not begin there.
    """
    theirs = F.log_softmax(other, dim=-1)
    return F.kl_div(theirs, F.softmax(origin, dim=-1), reduction="none").sum(-1)
