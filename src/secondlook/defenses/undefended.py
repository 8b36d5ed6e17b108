"""No defence: the row that all others are read against."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from secondlook.decision import Decision, Glimpse
from secondlook.defenses.base import Defence, Gradient, single
from secondlook.randomness import Keys
from secondlook.registry import register


@register("defence", "undefended")
@dataclass(frozen=True, kw_only=True)
class Undefended(Defence):
    """The bare model: believes its first look and accepts everything."""

    def judge(self, x: Tensor, keys: Keys) -> Decision:
        """The model's own answer."""
        features = self.model.features(x)
        return single(self.model.scores(features), features)

    def glimpse(
        self, x: Tensor, keys: Keys, draws: int = 1, gradient: Gradient = "full"
    ) -> Glimpse:
        """One look; more draws would all see the same."""
        features = self.model.features(x)[:, None]
        return Glimpse(features=features, scores=self.model.scores(features))
