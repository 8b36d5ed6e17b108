"""What a detector is told: what is hoped for, until the victim says as much in its own words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from secondlook.goals.echo import Speaker
from secondlook.goals.unsuspected import Watcher
from secondlook.randomness import Keys


@dataclass(frozen=True, kw_only=True)
class Hearing:
    """A watcher that an attacker keeps up to date with what the victim really says.

    A detector that paints captions paints the one that is said. Two sentences that mean the same
    are painted differently, so that it does not do to look like a painting of the wanted one.

    Attributes:
        watcher: the detector.
        speaker: the victim.
        fulfils: whether the first of two texts is as good to the attacker as the second.
        said: how captions are written, as the keywords of ``Captioner.caption``.
    """

    watcher: Watcher
    speaker: Speaker
    fulfils: Callable[[str, str], bool]
    said: dict[str, Any] = field(default_factory=dict)

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """``[B]``, with what is said of ``x`` where it fulfils the wish, and ``captions`` else."""
        heard = self.speaker.caption(x.detach(), keys.fold("caption"), **self.said)
        told = [
            text if self.fulfils(text, hope) else hope
            for text, hope in zip(heard, captions, strict=True)
        ]
        return self.watcher.suspicion(x, keys, told)
