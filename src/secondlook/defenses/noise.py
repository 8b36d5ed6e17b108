"""A vote over Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from secondlook.defenses.consensus import Consensus
from secondlook.models.purifiers.filters import NoisePurifier
from secondlook.registry import register


@register("defense", "noise")
@dataclass(frozen=True, kw_only=True)
class NoiseVote(Consensus):
    """A vote over N copies of the input with Gaussian noise (as randomized smoothing votes).

    Attributes:
        sigma: deviation of the noise in pixel units.
    """

    sigma: float = 0.1
    purifier: Any = field(default=None, init=False)
    noise: float = field(default=-1.0, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "purifier", NoisePurifier(self.sigma))
        super().__post_init__()

    @property
    def smoothing(self) -> float:
        """Its noise."""
        return self.sigma
