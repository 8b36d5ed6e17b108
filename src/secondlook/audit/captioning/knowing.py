"""The wish of an attacker who knows the detector that stands beside a captioner."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from secondlook.attacks.base import Objective
from secondlook.audit.single.subject import Wary
from secondlook.defenses.detector import Detector
from secondlook.defenses.mirrorcheck import Mirror
from secondlook.defenses.watched import Watched
from secondlook.errors import InvalidInput
from secondlook.goals.hearing import Hearing
from secondlook.goals.reflected import Reflected
from secondlook.goals.unsuspected import Unsuspected, Watcher
from secondlook.models.base import Model
from secondlook.models.painter import SoftPainter
from secondlook.randomness import Keys
from secondlook.tasks.captioning import CaptionBatch, OpenCaptioning

MARGIN: Final = 0.02
"""How far below the threshold the attacker wants to be."""
UNSAID: Final = 2.5
"""Minus the mean log-probability of a token of the true captions, from which on something else is
likely said; who only wants that waits for it before minding the detector."""
SHORT: Final = 2
"""Steps of the painting that a gradient goes back through."""


@dataclass(frozen=True, kw_only=True)
class Steered(Detector):
    """A detector whose suspicion is its own, and whose gradient goes through its painting.

    Attributes:
        detector: says how suspicious an input is.
        slope: says where that goes.
    """

    detector: Detector
    slope: Reflected
    listens = True

    @property
    def parts(self) -> tuple[Model, ...]:
        """The detector's."""
        return self.detector.parts

    @property
    def stochastic(self) -> bool:
        """Whether the detector is."""
        return self.detector.stochastic

    def suspicion(self, x: Tensor, keys: Keys, captions: Sequence[str] = ()) -> Tensor:
        """The detector's ``[B]``, with the gradient of ``slope``."""
        with torch.no_grad():
            own = self.detector.suspicion(x, keys, captions)
        steep = self.slope.suspicion(x, keys, captions)
        return own + steep - steep.detach()


def unsuspected(
    wish: Objective, task: OpenCaptioning, batch: CaptionBatch, watched: Watched, manner: Wary
) -> Unsuspected:
    """The wish, and a hinge on the suspicion of what is said once it has come true.

    Raises:
        InvalidInput: the gradient is to go through the painting, and there is no such painting.
    """
    targeted, captioner = manner.aim == "targeted", watched.captioner
    if manner.through == "painting":
        exact = Steered(detector=watched.detector, slope=_reflected(watched))
        watched = replace(watched, detector=exact)
    hearing = Hearing(
        watcher=watched.detector, speaker=captioner, said=watched.said, fulfils=task.fulfils
    )
    watcher: Watcher = hearing if targeted and watched.detector.listens else watched
    draws = manner.draws if watched.detector.stochastic else 1
    captions = captioner.worded(batch.targets, task.task.prompt) if targeted else ()
    return Unsuspected(
        wish=wish, watcher=watcher, captions=tuple(captions), threshold=watched.threshold,
        weight=manner.weight, margin=MARGIN, draws=draws,
        after=float("-inf") if targeted else UNSAID,
        watching=tuple(net for part in watched.detector.parts for net in part.modules),
    )  # fmt: skip


def _reflected(watched: Watched) -> Reflected:
    """The detector as who differentiates its painting sees it."""
    detector = watched.detector
    if not isinstance(detector, Mirror):
        raise InvalidInput(
            f"through = 'painting' goes through what is painted, and {type(detector).__name__} "
            "paints nothing; have mirrorcheck alone as a defence, or write through = ''"
        )
    easel = detector.easel
    soft = [each for each in easel.painters if isinstance(each, SoftPainter)]
    if not soft:
        raise InvalidInput(
            f"painters = {easel.painters[0].name!r} passes no gradient back to words; write "
            "painters = 'scenes:painter' for the defence, or through = '' for the attack"
        )
    return Reflected(
        captioner=watched.captioner, painter=soft[0], encoders=detector.eyes.encoders,
        sharp=True, steps=SHORT, paintings=easel.paintings, guidance=easel.guidance,
        seed=easel.seed, said=watched.said,
    )  # fmt: skip
