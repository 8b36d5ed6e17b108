"""The baselines of MirrorCheck as defences: squeezing, consistency, MagNet and PuVAE."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from secondlook.defenses.consistency import Consistency, Reconstruction, Rule, views
from secondlook.defenses.detector import Detector
from secondlook.defenses.eyes import many
from secondlook.defenses.suspecting import Suspecting
from secondlook.errors import UnknownName
from secondlook.models.base import Embedder
from secondlook.registry import register


@dataclass(frozen=True, kw_only=True)
class _Comparing(Suspecting):
    """Settings that all baselines with embedders share.

    Attributes:
        eyes: embedders that compare, by name, with commas between.
    """

    eyes: Any = "scenes:clip"

    def compared(self, given: Any, rule: Rule) -> Consistency:
        """The detector over some views."""
        if rule not in get_args(Rule):
            raise UnknownName("rule", rule, get_args(Rule))
        eyes = many(self.eyes, Embedder, "eyes", "scenes:clip")
        return Consistency(eyes=eyes, views=views(given), rule=rule)


@register("defence", "consistency")
@dataclass(frozen=True, kw_only=True)
class Consistent(_Comparing):
    """Rejects what another view of the input is not like: JPEG, a blur, a small turn.

    Attributes:
        views: the views, by name, with commas between.
        rule: of several views, ``max`` or ``mean`` of the suspicions.
        eyes: embedders that compare, by name, with commas between.
        false_rejection, most, calibrate_on, calibrate_samples: see ``Suspecting``.
    """

    views: Any = "jpeg:75,blur:1,affine:5"
    rule: Rule = "mean"

    def made(self) -> Consistency:
        """The detector."""
        return self.compared(self.views, self.rule)


@register("defence", "squeezing")
@dataclass(frozen=True, kw_only=True)
class Squeezing(_Comparing):
    """Feature squeezing: fewer grey levels and a median, the larger change counts (1704.01155).

    The paper compares a classifier's probabilities; a captioner has none, and so vectors of an
    embedder are compared here. Its third squeezer, non-local means, is left out.

    Attributes:
        views: the squeezers.
        eyes: embedders that compare, by name, with commas between.
        false_rejection, most, calibrate_on, calibrate_samples: see ``Suspecting``.
    """

    views: Any = "bits:5,median:2"

    def made(self) -> Consistency:
        """The detector."""
        return self.compared(self.views, "max")


@register("defence", "puvae")
@dataclass(frozen=True, kw_only=True)
class PuVae(_Comparing):
    """Rejects what its reconstruction by a VAE is not like (after PuVAE, arXiv 1903.00585).

    PuVAE answers for the reconstruction; here it is compared. Its VAE is told a class, and
    reconstructs for each; the one here is told nothing.

    Attributes:
        purifier: the VAE.
        eyes: embedders that compare, by name, with commas between.
        false_rejection, most, calibrate_on, calibrate_samples: see ``Suspecting``.
    """

    purifier: Any = "scenes:vae"

    def made(self) -> Consistency:
        """The detector."""
        return self.compared(self.purifier, "max")


@register("defence", "magnet")
@dataclass(frozen=True, kw_only=True)
class MagNet(_Comparing):
    """MagNet's detectors: the error of an autoencoder, or what it changes of a vector (1705.09064).

    Attributes:
        by: ``error`` in pixels, or ``divergence``: one less the cosine of an embedder's vectors,
            which stands for the paper's divergence of probabilities.
        purifier: the autoencoder.
        order: of the error, 1 or 2.
        eyes: embedders that compare, by name, with commas between.
        false_rejection, most, calibrate_on, calibrate_samples: see ``Suspecting``.
    """

    by: Literal["error", "divergence"] = "error"
    purifier: Any = "scenes:ae"
    order: Literal[1, 2] = 1

    def made(self) -> Detector:
        """The detector."""
        if self.by == "divergence":
            return self.compared(self.purifier, "max")
        (autoencoder,) = views(self.purifier)
        return Reconstruction(autoencoder=autoencoder, order=self.order)
