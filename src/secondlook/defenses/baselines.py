"""The two plain baselines: one JPEG, and a vote over Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from secondlook.defenses.consensus import Consensus
from secondlook.defenses.voting import Rule
from secondlook.models.jpeg import JpegPurifier
from secondlook.models.noise import NoisePurifier
from secondlook.registry import register


@register("defence", "jpeg")
@dataclass(frozen=True, kw_only=True)
class Jpeg(Consensus):
    """One look at the JPEG of the input; the plainest purification.

    Attributes:
        quality: of Pillow's codec, 1 to 95; its own default is 75.
    """

    quality: int = 75
    purifier: Any = field(default=None, init=False)
    samples: int = field(default=1, init=False)
    noise: float = field(default=-1.0, init=False)
    rule: Rule = field(default="plurality", init=False)
    early_stop: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "purifier", JpegPurifier(self.quality))
        super().__post_init__()


@register("defence", "noise")
@dataclass(frozen=True, kw_only=True)
class NoiseVote(Consensus):
    """A vote over N copies of the input with Gaussian noise (as randomised smoothing votes).

    Attributes:
        sigma: deviation of the noise in pixel units.
    """

    sigma: float = 0.1
    purifier: Any = field(default=None, init=False)
    noise: float = field(default=-1.0, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "purifier", NoisePurifier(self.sigma))
        super().__post_init__()
