"""The image side of every joint attack: projected gradient ascent from where a schedule says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from secondlook.attacks.pgd import PGD
from secondlook.randomness import Keys
from secondlook.threat import Threat

Start = Literal["ball", "above", "clean"]


@dataclass(frozen=True, kw_only=True)
class Climber(PGD):
    """PGD with the starts that the joint attacks are published with.

    Attributes:
        pace: all steps together are this many times eps.
        start: ``ball`` at random within, ``above`` at random and brighter only, ``clean``.
        warm: images ``[B, 3, H, W]`` to go on from instead.
    """

    keep_best: bool = False
    pace: float = 2.5
    start: Start = "ball"
    warm: Tensor | None = field(default=None, compare=False)

    def automatic_step(self, threat: Threat) -> float:
        """The pace shared out over the steps."""
        return self.pace * threat.eps / self.steps

    def _start(self, clean: Tensor, threat: Threat, keys: Keys) -> Tensor:
        if self.warm is not None:
            return self.warm.clone()
        if self.start == "ball":
            return super()._start(clean, threat, keys)
        if self.start == "clean":
            return clean.clone()
        up = keys.fold("start").uniform(clean.shape[1:], like=clean)
        return threat.project(clean + threat.eps * up, clean)
