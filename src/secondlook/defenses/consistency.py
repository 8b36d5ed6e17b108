"""Detectors that compare an input with other views of itself, the baselines of MirrorCheck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from secondlook.defenses.base import Detector, DetectorDefense, models_of
from secondlook.errors import InvalidInput, UnknownName
from secondlook.models import load
from secondlook.models.base import Embedder, Model, Purifier
from secondlook.models.purifiers.filters import VIEWS
from secondlook.models.purifiers.soft import straight_through
from secondlook.randomness import Keys
from secondlook.registry import register

Reduction = Literal["mean", "max"]


@dataclass(frozen=True, kw_only=True)
class Consistency(Detector):
    """One less the cosine of an input to another view of itself, cos(E(x), E(T(x))).

    Attributes:
        encoders: embedders that compare; their cosines are averaged.
        views: what makes the other views.
        reduction: of several views, whether the ``max`` of the suspicions counts or their ``mean``.
    """

    encoders: tuple[Embedder, ...]
    views: tuple[Purifier, ...]
    reduction: Reduction = "max"

    @property
    def parts(self) -> tuple[Model, ...]:
        """Embedders and views."""
        return (*self.encoders, *self.views)

    @property
    def stochastic(self) -> bool:
        """Whether a view is."""
        return any(view.stochastic for view in self.views)

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """``[B]`` in [0, 2]; a view without a gradient of use is passed straight through."""
        own = [encoder.embed(x) for encoder in self.encoders]
        found = []
        for number, view in enumerate(self.views):
            seen = _viewed(view, x, keys.fold("view", number))
            near = [(encoder.embed(seen) * at).sum(1) for encoder, at in zip(self.encoders, own, strict=True)]
            found.append(1 - torch.stack(near).mean(0))
        every = torch.stack(found)
        return every.amax(0) if self.reduction == "max" else every.mean(0)


@dataclass(frozen=True, kw_only=True)
class Reconstruction(Detector):
    """How far an autoencoder's reconstruction is off, in pixels (MagNet, arXiv 1705.09064, 4.2).

    Attributes:
        autoencoder: what reconstructs.
        order: 1 is the mean absolute error, 2 the root of the mean square.
    """

    autoencoder: Purifier
    order: int = 1

    @property
    def parts(self) -> tuple[Model, ...]:
        """The autoencoder."""
        return (self.autoencoder,)

    @property
    def stochastic(self) -> bool:
        """Whether the autoencoder is."""
        return self.autoencoder.stochastic

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """``[B]``, in pixel units."""
        off = (x - _viewed(self.autoencoder, x, keys)).flatten(1).abs()
        return off.mean(1) if self.order == 1 else off.square().mean(1).sqrt()


def _viewed(view: Purifier, x: Tensor, keys: Keys) -> Tensor:
    if view.differentiable:
        return view.purify(x, keys)
    return straight_through(x, view.purify(x.detach(), keys))


def views(given: Any) -> tuple[Purifier, ...]:
    """The views that ``given`` names: ``blur:1``, ``jpeg:75``, ``scenes:ae``, with commas between.

    Raises:
        UnknownName: there is no such view.
        InvalidInput: a strength out of range, or a model that is no purifier.
    """
    return models_of(
        [_view(each.strip()) for each in given.split(",")] if isinstance(given, str) else given,
        Purifier,
        "views",
        "blur:1",
    )


def _view(name: str) -> Any:
    kind, _, strength = name.partition(":")
    if kind not in VIEWS:
        return load(name)
    try:
        return VIEWS[kind](float(strength))
    except ValueError:
        raise InvalidInput(f"view {name!r} has no strength; write {kind}:NUMBER") from None


@dataclass(frozen=True, kw_only=True)
class _Comparing(DetectorDefense):
    """Settings that all baselines with embedders share.

    Attributes:
        encoders: embedders that compare, by name, with commas between.
    """

    encoders: Any = "scenes:clip"

    def compared(self, given: Any, reduction: Reduction) -> Consistency:
        """The detector over some views."""
        if reduction not in get_args(Reduction):
            raise UnknownName("reduction", reduction, get_args(Reduction))
        encoders = models_of(self.encoders, Embedder, "encoders", "scenes:clip")
        return Consistency(encoders=encoders, views=views(given), reduction=reduction)


@register("defense", "consistency")
@dataclass(frozen=True, kw_only=True)
class Consistent(_Comparing):
    """Rejects what another view of the input is not like: JPEG, a blur, a small turn.

    Attributes:
        augmentations: the views, by name, with commas between.
        reduction: of several views, ``max`` or ``mean`` of the suspicions.
        encoders: embedders that compare, by name, with commas between.
        false_rejection, threshold, calibrate_on, calibrate_samples: see ``DetectorDefense``.
    """

    augmentations: Any = "jpeg:75,blur:1,affine:5"
    reduction: Reduction = "mean"

    def detector(self, model: Model) -> Consistency:
        """The detector."""
        return self.compared(self.augmentations, self.reduction)


@register("defense", "squeezing")
@dataclass(frozen=True, kw_only=True)
class Squeezing(_Comparing):
    """Feature squeezing: fewer gray levels and a median, the larger change counts (1704.01155).

    The paper compares a classifier's probabilities; a captioner has none, and so vectors of an
    embedder are compared here. Its third squeezer, non-local means, is left out.

    Attributes:
        squeezers: what squeezes, by name, with commas between.
        encoders: embedders that compare, by name, with commas between.
        false_rejection, threshold, calibrate_on, calibrate_samples: see ``DetectorDefense``.
    """

    squeezers: Any = "bits:5,median:2"

    def detector(self, model: Model) -> Consistency:
        """The detector."""
        return self.compared(self.squeezers, "max")


@register("defense", "puvae")
@dataclass(frozen=True, kw_only=True)
class PuVae(_Comparing):
    """Rejects what its reconstruction by a VAE is not like (after PuVAE, arXiv 1903.00585).

    PuVAE answers for the reconstruction; here it is compared. Its VAE is
    conditioned on a class, and reconstructs for each; the one here is not.

    Attributes:
        purifier: the VAE.
        encoders: embedders that compare, by name, with commas between.
        false_rejection, threshold, calibrate_on, calibrate_samples: see ``DetectorDefense``.
    """

    purifier: Any = "scenes:vae"

    def detector(self, model: Model) -> Consistency:
        """The detector."""
        return self.compared(self.purifier, "max")


@register("defense", "magnet")
@dataclass(frozen=True, kw_only=True)
class MagNet(_Comparing):
    """MagNet's detectors: the error of an autoencoder, or what it changes of a vector (1705.09064).

    Attributes:
        by: ``error`` in pixels, or ``divergence``: one less the cosine of an embedder's vectors,
            which stands for the paper's divergence of probabilities.
        purifier: the autoencoder.
        order: of the error, 1 or 2.
        encoders: embedders that compare, by name, with commas between.
        false_rejection, threshold, calibrate_on, calibrate_samples: see ``DetectorDefense``.
    """

    by: Literal["error", "divergence"] = "error"
    purifier: Any = "scenes:ae"
    order: Literal[1, 2] = 1

    def detector(self, model: Model) -> Detector:
        """The detector."""
        if self.by == "divergence":
            return self.compared(self.purifier, "max")
        (autoencoder,) = views(self.purifier)
        return Reconstruction(autoencoder=autoencoder, order=self.order)
