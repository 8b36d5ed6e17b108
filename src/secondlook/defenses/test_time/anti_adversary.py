"""Anti-adversary: steps that make the model surer of its own answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from secondlook.bounds import Count, Positive
from secondlook.defenses.adaptation import PixelAdaptation, classifier, said, slope
from secondlook.defenses.base import Adapted, Defense, Gradient
from secondlook.errors import InvalidInput
from secondlook.ledger import tally
from secondlook.models.base import Classifier, Model
from secondlook.models.purifiers.soft import straight_through
from secondlook.models.zeroshot import ZeroShot
from secondlook.randomness import Keys
from secondlook.registry import register


class OwnLabel(PixelAdaptation):
    """Sign steps down the cross-entropy to the class that the model itself names.

    Args:
        model: who answers.
        settings: of the defense.
    """

    unrolls = False
    model: Classifier

    def __init__(self, model: Classifier, settings: AntiAdversary) -> None:
        super().__init__(model)
        self.settings, self.scale = settings, settings.temperature if model.cosine else 1.0

    def counter(self, x: Tensor, keys: Keys) -> Tensor:
        """The pixels after all steps; outside of [0, 1], too, where the settings say so."""
        named = self._said(x.detach()).scores.argmax(1)
        low, high = (-float("inf"), float("inf")) if self.settings.legacy_unclipped else (0.0, 1.0)

        def doubt(at: Tensor) -> Tensor:
            return F.cross_entropy(self._said(at).scores / self.scale, named, reduction="none")

        seen = x
        for _ in range(self.settings.steps):
            seen = (seen - self.settings.step * slope(doubt, seen).sign()).clamp(low, high)
        return seen

    def answer(self, x: Tensor, keys: Keys, gradient: Gradient) -> Adapted:
        """What the model says after the steps."""
        with torch.no_grad():
            found = self.counter(x.detach(), keys)
        return self._said(straight_through(x, found))

    def _said(self, x: Tensor) -> Adapted:
        """What the model says of pixels, which may lie outside of [0, 1] in the published form."""
        if not self.settings.legacy_unclipped:
            return said(self.model, x)
        assert isinstance(self.model, ZeroShot)
        embedder = self.model.embedder
        pixels = embedder.brought(tally(embedder.name, x))
        vectors = F.normalize(embedder.engine(embedder.encode_image, pixels, embedder.name), dim=-1).to(x.device)
        return Adapted(vectors, self.model.scores(vectors))


@register("defense", "anti-adversary")
@dataclass(frozen=True, kw_only=True)
class AntiAdversary(Defense):
    """Moves the image to where the model is surer of its own answer (anti-adversary layer, AAAI 2022).

    Sign steps descend the cross-entropy to the class that the model names, right or wrong: the
    answer is the bare model's, and what is lost is the gradient of whoever attacks through it.

    Attributes:
        steps: of the descent.
        step: length of each, in pixel units; the published one is nearly 40 levels of 255.
        temperature: cosines are divided by it; logits are taken as they are.
        legacy_unclipped: lets the pixels leave [0, 1], as published; for zero-shot models.

    Raises:
        InvalidInput: a number out of range, or, in front of a model, no classes.
    """

    steps: Count = 2
    step: Positive = 0.15
    temperature: Positive = 0.01
    legacy_unclipped: bool = False

    def adaptation(self, model: Model) -> OwnLabel:
        """The steps on what ``model`` answers."""
        found = classifier(model, "anti-adversary")
        if self.legacy_unclipped and not isinstance(found, ZeroShot):
            raise InvalidInput(
                f"legacy_unclipped shows pixels outside of [0, 1], which {found.name} refuses; take an embedder with "
                "classes to name"
            )
        return OwnLabel(found, self)
