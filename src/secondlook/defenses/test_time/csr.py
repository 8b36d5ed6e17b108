"""CSR: a low-pass filter tells attacked images, and sign steps bring them towards their filtered selves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.bounds import Count, Positive, Weight
from secondlook.defenses.adaptation import PixelAdaptation, answering, embedder_of, scores_of, slope
from secondlook.defenses.base import Adapted, Defense, Gradient
from secondlook.models.base import Classifier, Embedder, Model
from secondlook.models.purifiers.soft import straight_through
from secondlook.randomness import Keys
from secondlook.registry import register

SIDE: Final = 224
"""The side of the images that the radius is given for."""


def low_pass(x: Tensor, radius: float) -> Tensor:
    """Images ``[B, C, H, W]`` without their high frequencies: a Gaussian in the frequency domain.

    Args:
        x: images.
        radius: its deviation in cycles of an image of 224 pixels a side; other sizes have the same
            in cycles per pixel.
    """
    rows = torch.fft.fftfreq(x.shape[-2], device=x.device)[:, None]
    columns = torch.fft.rfftfreq(x.shape[-1], device=x.device)
    gain = torch.exp(-(rows**2 + columns**2) * SIDE**2 / (2 * radius**2))
    # The kernel is positive, so that only rounding leaves [0, 1].
    filtered: Tensor = torch.fft.irfft2(torch.fft.rfft2(x.float()) * gain, s=x.shape[-2:])
    return filtered.clamp(0, 1).to(x)


class Rectification(PixelAdaptation):
    """Sign steps up the contrast between the filtered image and the image itself.

    Args:
        model: who answers.
        embedder: whose cosines are contrasted.
        settings: of the defense.
    """

    unrolls = False

    def __init__(self, model: Classifier | Embedder, embedder: Embedder, settings: CSR) -> None:
        super().__init__(model)
        self.embedder, self.settings = embedder, settings

    def counter(self, x: Tensor, keys: Keys) -> Tensor:
        """The best iterate, the start among them, where the image is flagged; else the image."""
        own, filtered = self.anchors(x)
        points, contrasts = [torch.zeros_like(x)], list[Tensor]()

        def contrast(change: Tensor) -> Tensor:
            reached = (self.embedder.embed(x + change) * (filtered - own)).sum(1)
            contrasts.append(reached.detach())
            return reached

        for _ in range(self.settings.steps):
            up = self.settings.step * slope(contrast, points[-1]).sign()
            change = (points[-1] + up).clamp(-self.settings.eps, self.settings.eps)
            points.append((x + change).clamp(0, 1) - x)
        contrast(points[-1])
        best = torch.stack(contrasts, 1).argmax(1)
        change = torch.stack(points, 1)[torch.arange(len(x), device=x.device), best]
        return (x + torch.where(self.flagged(own, filtered).view(-1, 1, 1, 1), change, 0)).clamp(0, 1)

    def gate(self, x: Tensor, keys: Keys) -> Tensor:
        """The cosine between an image and its filtered self, above that of the flag, ``[B]``."""
        filtered = self.embedder.embed(low_pass(x, self.settings.radius))
        return (self.embedder.embed(x) * filtered).sum(1) - self.settings.flag_below

    def anchors(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The unit vectors of images and of their filtered selves, ``[B, D]`` each, as constants."""
        own = self.embedder.embed(x.detach()).detach()
        return own, self.embedder.embed(low_pass(x.detach(), self.settings.radius)).detach()

    def flagged(self, own: Tensor, filtered: Tensor) -> Tensor:
        """Whether an image and its filtered self are too far apart, ``[B]`` bool."""
        return (own * filtered).sum(1) < self.settings.flag_below

    def answer(self, x: Tensor, keys: Keys, gradient: Gradient) -> Adapted:
        """What the model says of the rectified images."""
        if not self.settings.legacy_scale:
            return super().answer(x, keys, gradient)
        with torch.no_grad():
            found, several = self.counter(x.detach(), keys), bool(self.flagged(*self.anchors(x)).any())
        vectors = self.embedder.raw_vectors(straight_through(x, found))
        vectors = vectors if several else F.normalize(vectors, dim=-1)
        return Adapted(vectors, scores_of(self.model, vectors))


@register("defense", "csr")
@dataclass(frozen=True, kw_only=True)
class CSR(Defense):
    """Brings an image that its low-pass filter changes too much towards its filtered self (CSR, arXiv 2601.19210).

    An image is flagged where the cosine between it and what a Gaussian filter leaves of it is below
    a threshold. Sign steps then ascend the cosine to the filtered image less that to the image
    itself, and the best iterate is shown to the model. It costs ``steps + 4`` forwards and ``steps``
    backwards. The faster variant in the authors' code takes two steps.

    Attributes:
        radius: of the filter, in cycles of an image of 224 pixels a side.
        flag_below: the cosine below which an image is flagged.
        eps: radius of the rectification, L∞ in pixel units.
        steps: of the rectification.
        step: length of each, in pixel units.
        legacy_scale: scores with vectors that are not normalized where any image of the batch is
            flagged, as the authors' faster variant does: an answer depends on who else is there.

    Raises:
        InvalidInput: a number out of range, or, in front of a model, no embedder.
    """

    radius: Positive = 40.0
    flag_below: float = 0.85
    eps: Weight = 4 / 255
    steps: Count = 3
    step: Positive = 2 / 255
    legacy_scale: bool = False

    def adaptation(self, model: Model) -> Rectification:
        """The rectification with the embedder of ``model``."""
        return Rectification(answering(model, "csr"), embedder_of(model, "csr"), self)
