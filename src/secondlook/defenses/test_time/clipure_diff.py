"""CLIPure-Diff: gradient steps on the embedding up its likelihood under a diffusion model of clean ones.

The authors take the prior of DALL-E 2. Here the prior is one of the embedder's own clean vectors: a
small denoiser that is trained on them, or, where nobody has trained one, the expectation over a set
of them, which is known in closed form, fits every embedder, and is what a denoiser that has seen no
others is trained towards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

import torch
from torch import Tensor

from secondlook.bounds import Bounds, Count
from secondlook.data import load
from secondlook.defenses.adaptation import answering, embedder_of
from secondlook.defenses.calibration import clean_scores
from secondlook.defenses.test_time.clipure_cos import Clipure, Uphill
from secondlook.defenses.test_time.learned import Learned, learned, shipped
from secondlook.models.base import Classifier, Embedder, Model, evaluating
from secondlook.randomness import Keys
from secondlook.registry import register
from secondlook.scenes.models.vector_denoiser import MOMENTS, VectorDenoiser, noised, signal

EXACT: Final = "exact"
"""The name of the prior in closed form."""


class Prior(Protocol):
    """Tells the clean vectors that noised ones are expected to be; all of the length ``sqrt(D)``."""

    def __call__(self, noised: Tensor, share: Tensor) -> Tensor:
        """Of noised vectors ``[B, D]``, at the shares ``[B, 1]`` of the signal, the expected clean ones."""


class ExactPrior:
    """The expectation of a clean vector, given a noised one, over a set of clean ones.

    Args:
        vectors: unit vectors of clean images, ``[N, D]``; inside they have the length ``sqrt(D)``, as
            in DALL-E 2's prior, so that noise of deviation 1 is as large as a coordinate.
    """

    def __init__(self, vectors: Tensor) -> None:
        self.known = vectors * math.sqrt(vectors.shape[1])

    def __call__(self, noised: Tensor, share: Tensor) -> Tensor:
        """Of noised vectors ``[B, D]``, at the shares ``[B, 1]`` of the signal, the expected clean ones."""
        known = self.known.to(noised)
        # All known ones are of one length, so that of the distance only the product differs.
        beliefs = (noised @ known.T * share.sqrt() / (1 - share)).softmax(1)
        return beliefs @ known


def surprise(prior: Prior, vectors: Tensor, share: Tensor, noise: Tensor) -> Tensor:
    """The mean squared error of denoising unit vectors ``[B, D]``, ``[B]``."""
    clean = vectors * math.sqrt(vectors.shape[1])
    return (prior(noised(clean, share, noise), share) - clean).square().mean(1)


class TowardsClean(Uphill):
    """Steps down the error of denoising, each at a moment and with noise of its own.

    Args:
        model: who answers.
        prior: of its vectors.
        settings: of the defense.
        parts: models inside the prior.
    """

    settings: ClipureDiff

    def __init__(
        self, model: Classifier | Embedder, prior: Prior, settings: ClipureDiff, parts: tuple[Model, ...] = ()
    ) -> None:
        super().__init__(model, settings)
        self.prior, self._parts = prior, parts

    @property
    def parts(self) -> tuple[Model, ...]:
        """The trained prior, if it is one."""
        return self._parts

    def likelihood(self, vectors: Tensor, keys: Keys) -> Tensor:
        """Less the error."""
        first, last = self.settings.first_moment, MOMENTS
        drawn = (keys.fold("moment").uniform((1,)) * (last - first)).floor() + first
        if self.settings.legacy_one_moment:
            drawn = drawn[:1].expand(len(vectors), -1)
        share = signal(drawn).clamp_min(1e-9).to(vectors)
        noise = keys.fold("noise").normal(vectors.shape[1:], like=vectors)
        return -surprise(self.prior, vectors, share, noise)


@register("defense", "clipure-diff")
@dataclass(frozen=True, kw_only=True)
class ClipureDiff(Clipure):
    """Purifies the embedding by steps up its likelihood under a diffusion model (CLIPure-Diff, arXiv 2502.18176).

    Each step descends the error of denoising the vector with noise of its own, at a moment drawn from
    the last hundred of a thousand, where hardly any signal is left. With a denoiser that answered the
    same to everything, ten steps of the published length of 30 would turn the vector there and nearly
    back; each step's own noise turns it elsewhere, and clean answers are lost on a model for which the
    length was not chosen. The loop is the published one; the prior is not DALL-E 2's, but a small one of
    clean images, without texts.

    Attributes:
        steps: of the purification.
        step: length of each, as a multiple of the vector's own.
        prior: what ``secondlook train prior:MODEL`` wrote, without its ends; ``exact`` takes the
            expectation over the vectors of ``clean``. Empty takes the package's trained one, which there
            is for ``scenes:clip`` and ``scenes:clip-vit``, and the exact one for others.
        clean: clean data, by name, of the exact prior; not the data that is evaluated.
        clean_samples: how many of its images.
        first_moment: the least noisy moment that is drawn.
        legacy_batch_norm: divides by the norm of the whole batch's gradient, as published: an
            answer depends on who else is in the batch.
        legacy_one_moment: all of a batch are noised at the first one's moment, as published.
        legacy_detached: takes the steps' directions for constants, as published.
        legacy_half: takes the vector in 16 bits, as the published encoder gives it.

    Raises:
        InvalidInput: a number out of range, or, in front of a model, no embedder, or a prior of another.
    """

    prior: str = ""
    clean: str = "scenes:calibration"
    clean_samples: Count = 500
    first_moment: Annotated[int, Bounds(0, MOMENTS - 1)] = 900
    legacy_one_moment: bool = False
    stochastic = True

    def adaptation(self, model: Model) -> TowardsClean:
        """The steps on the vectors of ``model``."""
        embedder, answers = embedder_of(model, "clipure-diff"), answering(model, "clipure-diff")
        if self.prior == EXACT or not (self.prior or shipped("prior", embedder)):
            return TowardsClean(answers, self._exact(embedder), self)
        found = learned("prior", embedder, self.prior)
        network = VectorDenoiser(dim=found.state["out.bias"].shape[0])
        network.load_state_dict(found.state)
        return TowardsClean(answers, network, self, (Learned(found.name, network),))

    def _exact(self, embedder: Embedder) -> ExactPrior:
        with torch.no_grad(), evaluating(embedder.modules):
            size = getattr(embedder, "size", None)
            return ExactPrior(clean_scores(load(self.clean), lambda x, _: embedder.embed(x), size, self.clean_samples))
