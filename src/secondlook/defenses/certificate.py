"""Certificates: the radius in which no perturbation whatever changes the answer of a vote over Gaussian noise."""

from __future__ import annotations

import torch
from scipy.stats import beta
from torch import Tensor
from torch.nn import functional as F

from secondlook.defenses.base import Certificate
from secondlook.defenses.guarded import VIEWS, Guarded
from secondlook.errors import InvalidInput
from secondlook.models.base import evaluating
from secondlook.models.runtime.engine import exactly
from secondlook.randomness import Keys

TOGETHER = 16
"""Draws of an image that go through the model at once, whatever the batch."""
ABSTAINED = -1
"""The class of an image of which nothing can be said with the asked confidence."""


def certifies(guarded: Guarded) -> bool:
    """Whether the defense begins with Gaussian noise, and its model names classes."""
    return guarded.defense.smoothing > 0 and len(guarded.classes) > 1


@torch.no_grad()
def certify(guarded: Guarded, x: Tensor, keys: Keys, samples: int = 1000, confidence: float = 0.999) -> Certificate:
    """The class of each image under noise, and the L2 radius in which no perturbation changes it.

    Of a vote: the class that one draw most likely gives is found with a tenth of the draws, and its
    probability bounded from below by others (Clopper & Pearson); above one half it leads within
    ``sigma`` times that bound's normal quantile (Cohen et al. 2019, section 3.2.2), else the certificate
    abstains. Whatever follows the noise counts as a part of the classifier: clipping, a purifier
    (denoised smoothing, Salman et al. 2020). It is said of the vote of infinitely many draws; the one of N may
    differ where it is close. A detector may reject within the radius, but no other class is accepted. A defense
    with a certificate of its own gives that.

    Args:
        guarded: a classifier behind a defense that begins with Gaussian noise.
        x: images ``[B, C, H, W]`` in [0, 1].
        keys: one for each image.
        samples: draws that are certified with.
        confidence: that an image's certificate holds.

    Raises:
        InvalidInput: a defense without noise, a model without classes, fewer than two samples, too few
            for the confidence, or a confidence of 1.

    Example:
        ``certify(sl.defend("scenes:classifier", "noise", sigma=0.25), images, keys).radius``
    """
    if not certifies(guarded):
        raise InvalidInput(
            f"{guarded.defense.registered_name or type(guarded.defense).__name__} in front of {guarded.model.name} "
            "has no certificate; take a classifier behind noise, feature-smoothing, or a stack that begins with one"
        )
    if samples < 2 or not 0 <= confidence < 1:
        raise InvalidInput(f"samples={samples}, confidence={confidence:g}: write 2 or more, and a confidence below 1")
    own = guarded.defense.certificate(guarded, x, keys, samples, confidence)
    return _of_vote(guarded, x, keys, samples, confidence) if own is None else own


def _of_vote(guarded: Guarded, x: Tensor, keys: Keys, samples: int, confidence: float) -> Certificate:
    if (1 - confidence) ** (1 / samples) <= 0.5:
        raise InvalidInput(
            f"{samples} draws that all agree certify nothing at a confidence of {confidence:g}; take more"
        )
    chosen = _votes(guarded, x, keys.fold("choose"), max(1, samples // 10)).argmax(1)
    agreeing = _votes(guarded, x, keys.fold("certify"), samples).gather(1, chosen[:, None])[:, 0]
    low = torch.tensor(least_share(agreeing.tolist(), samples, confidence), dtype=torch.float64)
    radius = guarded.defense.smoothing * torch.special.ndtri(low.clamp(0.5, 1 - 1e-12))
    answer = torch.where(low > 0.5, chosen.cpu(), ABSTAINED)
    return Certificate(answer.to(x.device), radius.float().to(x.device))


def least_share(agreeing: list[int], samples: int, confidence: float) -> list[float]:
    """The lower ends of Clopper-Pearson intervals, one-sided.

    Example:
        >>> [f"{low:.4f}" for low in least_share([99, 100, 0], 100, 0.999)]
        ['0.9114', '0.9333', '0.0000']
    """
    return [float(beta.ppf(1 - confidence, k, samples - k + 1)) if k else 0.0 for k in agreeing]


def _votes(guarded: Guarded, x: Tensor, keys: Keys, samples: int) -> Tensor:
    """How many of so many draws choose each class, ``[B, K]``."""
    found = torch.zeros(len(x), len(guarded.classes), dtype=torch.long, device=x.device)
    with evaluating(guarded.modules), exactly(guarded.parts):
        for number, first in enumerate(range(0, samples, TOGETHER)):
            draws = min(TOGETHER, samples - first)
            for rows in torch.arange(len(x)).split(VIEWS // TOGETHER):
                seen = guarded.ungated.surrogate(x[rows], keys[rows].fold("block", number), draws)
                found[rows] += F.one_hot(seen.scores.argmax(-1), found.shape[1]).sum(1)
    return found
