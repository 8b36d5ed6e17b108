"""A sound at a lower rate and back, the plainest purification of one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from secondlook.bounds import Count
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.voting import Rule
from secondlook.models.purifiers.waveforms import Resampled
from secondlook.registry import register


@register("defense", "resampling")
@dataclass(frozen=True, kw_only=True)
class Resampling(Consensus):
    """The answer for the sound at a lower rate.

    Attributes:
        inside: the lower rate in Hz.
        rate: that of the sound.

    Raises:
        InvalidInput: the lower rate is none.
    """

    inside: Count = 4000
    rate: Count = 8000
    purifier: Any = field(default=None, init=False)
    samples: int = field(default=1, init=False)
    noise: float = field(default=-1.0, init=False)
    rule: Rule = field(default="plurality", init=False)  # type: ignore[misc]
    early_stop: bool = field(default=False, init=False)  # type: ignore[misc]

    def __post_init__(self) -> None:
        object.__setattr__(self, "purifier", Resampled(self.inside, self.rate))
        super().__post_init__()
