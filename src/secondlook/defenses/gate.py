"""A gate of an adaptation as an attacker sees it: the bare model, which rejects whatever the gate stops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from secondlook.defenses.base import Adaptation, Defense, Detector
from secondlook.models.base import Model
from secondlook.randomness import Keys


@dataclass(frozen=True, kw_only=True)
class GateDetector(Detector):
    """As suspicious of an input as the gate is short of letting it through.

    Attributes:
        adaptation: whose gate it is.
        draws: whether the gate draws.
    """

    adaptation: Adaptation
    draws: bool

    @property
    def parts(self) -> tuple[Model, ...]:
        """The models of the adaptation."""
        return self.adaptation.parts

    @property
    def stochastic(self) -> bool:
        """Whether the gate draws."""
        return self.draws

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """Below 0 where the gate lets an input through, ``[B]``."""
        return -self.adaptation.gate(x, keys.fold("adapt"))


@dataclass(frozen=True, kw_only=True)
class PastGate(Defense):
    """Whatever a gate stops is rejected, and to all else the bare model answers.

    A defense with a gate is hardly more than the bare model for whom the gate lets through. Whoever
    fools this, fools the model by an input that is not worked on.

    Attributes:
        gated: whose gate it is.
        draws: whether it draws.
    """

    gated: Adaptation
    draws: bool
    threshold = 0.0

    def detector(self, model: Model) -> GateDetector:
        """The gate."""
        return GateDetector(adaptation=self.gated, draws=self.draws)
