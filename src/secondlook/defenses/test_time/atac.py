"""After ATAC: the vector is corrected along the drift of its augmentations, where they agree."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from secondlook.bounds import Natural, Part, Share, Weight
from secondlook.defenses.adaptation import ViewAdaptation, Weighed, answering, embedded, embedder_of
from secondlook.defenses.base import Defense
from secondlook.defenses.test_time.crops import resized_crops
from secondlook.defenses.test_time.dbd import directional_bias
from secondlook.defenses.test_time.gates import soft_gate
from secondlook.models.base import Classifier, Embedder, Model
from secondlook.models.purifiers.filters import Turned
from secondlook.randomness import Keys
from secondlook.registry import register


class Drift(ViewAdaptation):
    """The image's own vector and a multiple of its mean drift, or the vector alone.

    Args:
        model: who answers.
        settings: of the defense.
    """

    def __init__(self, model: Classifier | Embedder, settings: ATAC) -> None:
        super().__init__(model)
        self.settings = settings

    def views(self, x: Tensor, keys: Keys) -> Tensor:
        """The image itself, its mirror image, both turns, and crops."""
        turns = [Turned(sign * self.settings.degrees).reconstruct(x, keys) for sign in (-1, 1)]
        fixed = torch.stack([x, x.flip(-1), *(turn.clamp(0, 1) for turn in turns)], 1)
        if not self.settings.crops:
            return fixed
        return torch.cat([fixed, resized_crops(x, keys.fold("crops"), self.settings.crops, self.settings.least)], 1)

    def weighed(self, vectors: Tensor, keys: Keys) -> Weighed:
        """1 - c for the image's own vector, c shared by its views; c is 0 where they do not agree."""
        count, scale = vectors.shape[1] - 1, self.settings.strength * soft_gate(self.over(vectors))[:, None]
        return Weighed(torch.cat([1 - scale, scale.expand(-1, count) / count], 1))

    def over(self, vectors: Tensor) -> Tensor:
        """How much more the drifts of views' vectors ``[B, V, D]`` agree than at the threshold, ``[B]``."""
        return directional_bias(vectors[:, 0], vectors[:, 1:]).agreement - self.settings.agree_above

    def gate(self, x: Tensor, keys: Keys) -> Tensor:
        """How much less the drifts agree than at the threshold, ``[B]``."""
        return -self.over(embedded(embedder_of(self.model, "atac"), self.views(x, keys)))


@register("defense", "atac")
@dataclass(frozen=True, kw_only=True)
class ATAC(Defense):
    """Corrects the vector along the mean drift of its augmentations, where they agree (after ATAC, arXiv 2511.17362).

    No code was public: what the abstract says is built, and its numbers are ours. The drift of a view
    is its vector less the image's own; where the mean cosine of the drifts to their mean is above a
    threshold, ``strength`` times the mean drift is added. It costs ``crops + 4`` forwards.

    Attributes:
        crops: random crops, beside the mirror image and two turns.
        least: the least share of the area that a crop has.
        degrees: of the turns.
        agree_above: the agreement above which the vector is corrected.
        strength: of the correction, in mean drifts.

    Raises:
        InvalidInput: a number out of range, or, in front of a model, no embedder.
    """

    crops: Natural = 5
    least: Part = 0.5
    degrees: float = 10.0
    agree_above: Share = 0.7
    strength: Weight = 2.0

    def __post_init__(self) -> None:
        Turned(self.degrees)

    @property
    def stochastic(self) -> bool:
        """Whether there are crops."""
        return self.crops > 0

    def adaptation(self, model: Model) -> Drift:
        """The correction of the vectors of ``model``."""
        embedder_of(model, "atac")
        return Drift(answering(model, "atac"), self)
