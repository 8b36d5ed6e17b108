"""The two controls: one rejects everything and one nothing, and both have learnt nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from secondlook.decision import Decision, Glimpse
from secondlook.defenses.base import Defence, Gradient
from secondlook.defenses.undefended import Undefended
from secondlook.randomness import Keys
from secondlook.registry import register


@register("defence", "always-accept")
@dataclass(frozen=True, kw_only=True)
class AlwaysAccept(Undefended):
    """Rejects nothing: the control on the one side of every defence that can reject."""


@register("defence", "always-reject")
@dataclass(frozen=True, kw_only=True)
class AlwaysReject(Defence):
    """Rejects everything: never fooled, never of use, the control on the other side."""

    def judge(self, x: Tensor, keys: Keys) -> Decision:
        """The model's own answer, never accepted."""
        seen = Undefended(model=self.model).judge(x, keys)
        return replace(
            seen, accepted=torch.zeros_like(seen.accepted),
            suspicion=torch.ones_like(seen.suspicion),
        )  # fmt: skip

    def glimpse(
        self, x: Tensor, keys: Keys, draws: int = 1, gradient: Gradient = "full"
    ) -> Glimpse:
        """One look that is rejected whatever it sees: there is no gradient towards acceptance."""
        seen = Undefended(model=self.model).glimpse(x, keys)
        return replace(seen, acceptance=-torch.ones_like(seen.scores[..., 0]))
