"""Feature smoothing: the mean embedding over Gaussian noise, with a certificate."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from secondlook.bounds import Count, Part
from secondlook.defenses.adaptation import embedder_of, zero_shot
from secondlook.defenses.base import Adaptation, Certificate, Defense
from secondlook.defenses.guarded import VIEWS, Guarded
from secondlook.errors import InvalidInput
from secondlook.models.base import Model, evaluating
from secondlook.models.runtime.engine import exactly
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.registry import register


@register("defense", "feature-smoothing")
@dataclass(frozen=True, kw_only=True)
class FeatureSmoothing(Defense):
    """Answers with the mean embedding of N copies under Gaussian noise (feature smoothing, arXiv 2601.16200).

    The cosine of the mean to any vector changes no faster in the image than a bound says, which
    :func:`certified` turns into a radius. Noisy pixels are clipped to [0, 1] before the encoder,
    which counts as a part of it.

    Attributes:
        sigma: deviation of the noise in pixel units.
        samples: copies N of an answer; a certificate draws its own.

    Raises:
        InvalidInput: a number out of range, or, in front of a model, no embedder.
    """

    rule = "mean"
    stochastic = True
    sigma: Part = 0.1
    samples: Count = 32

    @property
    def count(self) -> int:
        """The copies of an input."""
        return self.samples

    @property
    def unseen(self) -> frozenset[str]:
        """The count of the copies: an attacker optimizes as many as they draw."""
        return frozenset({"samples"})

    def transform(self, x: Tensor, keys: Keys) -> Tensor:
        """One noisy copy of each input."""
        return (x + self.sigma * keys.normal(x.shape[1:], like=x)).clamp(0, 1)

    @property
    def smoothing(self) -> float:
        """Its noise."""
        return self.sigma

    def certificate(self, guarded: Any, x: Tensor, keys: Keys, samples: int, confidence: float) -> Certificate | None:
        """That of :func:`certified`: not a vote is certified, but the mean."""
        return certified(guarded, x, keys, samples, confidence)

    def adaptation(self, model: Model) -> Adaptation | None:
        """None: what is said of a copy is the model's own.

        Raises:
            InvalidInput: ``model`` is no embedder, and there are no vectors to smooth.
        """
        embedder_of(model, "feature-smoothing")
        return None


def smoothed_cosine(cosine: Tensor, distance: float) -> Tensor:
    """The least mean cosine to a vector, at a point so far away, where it is ``cosine`` here.

    A function with values in [-1, 1], averaged over Gaussian noise, moves by no more than this
    (Salman et al. 2019, lemma 2, for [0, 1]).

    Args:
        cosine: the mean here, or a lower confidence bound of it.
        distance: between the points, L2, in deviations of the noise.

    Example:
        >>> [f"{smoothed_cosine(torch.tensor(0.9).double(), far):.4f}" for far in (0.5, 1.0)]
        ['0.7477', '0.4810']
    """
    least: Tensor = torch.special.ndtr(torch.special.ndtri((1 + cosine) / 2) - distance)
    return 2 * least - 1


def l2_of_linf(eps: float, height: int, width: int, channels: int = 3) -> float:
    """The L2 norm of what moves every pixel by ``eps``: a radius has to be as large to hold in L∞.

    Example:
        >>> f"{l2_of_linf(1 / 255, 224, 224):.2f}"
        '1.52'
    """
    return eps * math.sqrt(channels * height * width)


@torch.no_grad()
def certified(guarded: Guarded, x: Tensor, keys: Keys, samples: int = 1000, confidence: float = 0.999) -> Certificate:
    """The answer of feature smoothing to each image, and the radius in which it cannot change.

    The difference of two classes' cosines, over its largest possible value, is one more function
    with values in [-1, 1] that the noise averages; where it is above 0 the first class leads. Of
    all other classes the nearest counts. The class is found with a tenth of the draws and certified
    with others, by empirical Bernstein bounds that hold for all classes at once (Maurer & Pontil
    2009, theorem 4; Cohen et al. 2019, section 3.2.2).

    Args:
        guarded: a zero-shot classifier behind :class:`FeatureSmoothing`.
        x: images ``[B, 3, H, W]`` in [0, 1].
        keys: one for each image.
        samples: copies that are certified with.
        confidence: that all of an image's certificate holds.

    Raises:
        InvalidInput: another defense or model, fewer than two samples, or a confidence of 1.
    """
    if not isinstance(guarded.defense, FeatureSmoothing):
        raise InvalidInput(f"{type(guarded.defense).__name__} has no certificate; take feature-smoothing")
    if samples < 2 or not 0 <= confidence < 1:
        raise InvalidInput(f"samples={samples}, confidence={confidence:g}: write 2 or more, and a confidence below 1")
    model, sigma = zero_shot(guarded.model, "a certificate"), guarded.defense.sigma
    with evaluating(guarded.modules), exactly(guarded.parts):
        found = _scores(guarded.defense, model, x, keys.fold("choose"), max(1, samples // 10)).mean(1).argmax(1)
        scores = _scores(guarded.defense, model, x, keys.fold("certify"), samples)
    leads = scores.gather(2, found[:, None, None].expand(-1, samples, 1)) - scores
    widest = (model.texts[found][:, None] - model.texts).norm(dim=-1).to(scores).clamp_min(1e-12)
    shares = (leads / widest[:, None]).clamp(-1, 1).double()
    low = _lower_bound(shares, (1 - confidence) / (scores.shape[2] - 1))
    low.scatter_(1, found[:, None], 1.0)
    radius = sigma * torch.special.ndtri((1 + low.amin(1).clamp(0, 1 - 1e-12)) / 2)
    return Certificate(found, radius.float())


def _lower_bound(shares: Tensor, risk: float) -> Tensor:
    """Below the mean of draws ``[B, N, K]`` from [-1, 1], but for the risk, ``[B, K]``."""
    draws, surprise = shares.shape[1], math.log(2 / risk)
    spread = (2 * shares.var(1) * surprise / draws).sqrt()
    return shares.mean(1) - spread - 14 * surprise / (3 * (draws - 1))


def _scores(defense: FeatureSmoothing, model: ZeroShot, x: Tensor, keys: Keys, samples: int) -> Tensor:
    """The scores of so many noisy copies, ``[B, N, K]``."""
    size = max(1, VIEWS // max(1, len(x)))
    parts = [
        model.scores(model.features(defense.views(x, keys, min(size, samples - first), first)))
        for first in range(0, samples, size)
    ]
    return torch.cat([part.unflatten(0, (len(x), -1)) for part in parts], 1)
