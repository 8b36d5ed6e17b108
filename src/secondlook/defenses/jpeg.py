"""JPEG compression of the input, the plainest purification."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from secondlook.defenses.consensus import Consensus
from secondlook.defenses.voting import Rule
from secondlook.models.purifiers.jpeg import JpegPurifier, Subsampling
from secondlook.registry import register


@register("defense", "jpeg")
@dataclass(frozen=True, kw_only=True)
class Jpeg(Consensus):
    """The answer for the JPEG of the input.

    Attributes:
        quality: of Pillow's codec, 1 to 95; its own default is 75.
        subsampling: chroma at half the height and width, ``4:2:0``, or at the full size, ``4:4:4``.

    Raises:
        InvalidInput: another quality or subsampling.
    """

    quality: int = 75
    subsampling: Subsampling = "4:2:0"
    purifier: Any = field(default=None, init=False)
    samples: int = field(default=1, init=False)
    noise: float = field(default=-1.0, init=False)
    rule: Rule = field(default="plurality", init=False)  # type: ignore[misc]
    early_stop: bool = field(default=False, init=False)  # type: ignore[misc]
    stop_error: float = field(default=0.0, init=False)  # type: ignore[misc]

    def __post_init__(self) -> None:
        object.__setattr__(self, "purifier", JpegPurifier(self.quality, self.subsampling))
        super().__post_init__()
