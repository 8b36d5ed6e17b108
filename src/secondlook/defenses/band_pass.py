"""A sound without its lowest and highest frequencies."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from secondlook.bounds import Count
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.voting import Rule
from secondlook.models.purifiers.waveforms import BandPass
from secondlook.registry import register


@register("defense", "band-pass")
@dataclass(frozen=True, kw_only=True)
class BandPassDefense(Consensus):
    """The answer for the sound within a band of frequencies.

    Attributes:
        low, high: ends of the band in Hz.
        rate: that of the sound.

    Raises:
        InvalidInput: the band is none, or the rate cannot hold it.
    """

    low: float = 150.0
    high: float = 3400.0
    rate: Count = 8000
    purifier: Any = field(default=None, init=False)
    samples: int = field(default=1, init=False)
    noise: float = field(default=-1.0, init=False)
    rule: Rule = field(default="plurality", init=False)  # type: ignore[misc]
    early_stop: bool = field(default=False, init=False)  # type: ignore[misc]

    def __post_init__(self) -> None:
        object.__setattr__(self, "purifier", BandPass(self.low, self.high, self.rate))
        super().__post_init__()
