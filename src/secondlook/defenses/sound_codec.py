"""A sound through a lossy codec, as JPEG is to an image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from secondlook.bounds import Count, Part
from secondlook.defenses.consensus import Consensus
from secondlook.defenses.voting import Rule
from secondlook.models.purifiers.waveforms import Codec, LossyCodec
from secondlook.registry import register


@register("defense", "sound-codec")
@dataclass(frozen=True, kw_only=True)
class SoundCodec(Consensus):
    """The answer for the MP3, Opus or Vorbis of the sound; its gradient is passed straight through.

    Attributes:
        codec: ``mp3``, ``opus`` or ``vorbis``.
        strength: of the compression, 0 to 1.
        rate: that of the sound in Hz.

    Raises:
        InvalidInput: the extra ``audio`` or the codec is not installed.
    """

    codec: Codec = "mp3"
    strength: Part = 0.5
    rate: Count = 8000
    purifier: Any = field(default=None, init=False)
    samples: int = field(default=1, init=False)
    noise: float = field(default=-1.0, init=False)
    rule: Rule = field(default="plurality", init=False)  # type: ignore[misc]
    early_stop: bool = field(default=False, init=False)  # type: ignore[misc]

    def __post_init__(self) -> None:
        object.__setattr__(self, "purifier", LossyCodec(self.codec, self.strength, self.rate))
        super().__post_init__()
