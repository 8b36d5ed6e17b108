"""The wish of an attacker who knows the detector that stands beside a captioner."""

from __future__ import annotations

from typing import Final

from secondlook.attacks.base import Objective
from secondlook.audit.single.subject import Wary
from secondlook.defenses.mirrorcheck import Mirror
from secondlook.defenses.watched import Watched
from secondlook.errors import InvalidInput
from secondlook.goals.hearing import Hearing
from secondlook.goals.reflected import Reflected
from secondlook.goals.unsuspected import Unsuspected, Watcher
from secondlook.tasks.captioning import CaptionBatch, OpenCaptioning

MARGIN: Final = 0.02
"""How far below the threshold the attacker wants to be."""
UNSAID: Final = 2.5
"""Minus the mean log-probability of a token of the true captions, from which on something else is
likely said; who only wants that waits for it before minding the detector."""
SHORT: Final = 2
"""Steps of the painting that a gradient goes back through."""


def unsuspected(
    wish: Objective, task: OpenCaptioning, batch: CaptionBatch, watched: Watched, manner: Wary
) -> Unsuspected:
    """The wish, and a hinge on the suspicion of what is said once it has come true.

    Raises:
        InvalidInput: the gradient is to go through the painting, and there is no such painting.
    """
    targeted, captioner = manner.aim == "targeted", watched.captioner
    live = _reflected(watched) if manner.through == "painting" else None
    hearing = Hearing(
        watcher=watched.detector, speaker=captioner, said=watched.said, fulfils=task.fulfils
    )
    watcher: Watcher = live or (hearing if targeted else watched)
    captions = captioner.worded(batch.targets, task.task.prompt) if targeted else ()
    return Unsuspected(
        wish=wish, watcher=watcher, captions=tuple(captions), threshold=watched.threshold,
        weight=manner.weight, margin=MARGIN, draws=manner.draws,
        after=float("-inf") if targeted else UNSAID,
        watching=tuple(net for part in watched.detector.parts for net in part.modules),
    )  # fmt: skip


def _reflected(watched: Watched) -> Reflected:
    """The detector as who differentiates its painting sees it."""
    detector = watched.detector
    if not isinstance(detector, Mirror):
        raise InvalidInput(
            f"through = 'painting' goes through what is painted, and {type(detector).__name__} "
            "paints nothing; write it under an attack on mirrorcheck alone"
        )
    easel = detector.easel
    return Reflected(
        captioner=watched.captioner, painter=easel.painters[0], encoders=detector.eyes.encoders,
        sharp=True, steps=SHORT, paintings=easel.paintings, guidance=easel.guidance,
        seed=easel.seed, said=watched.said,
    )  # fmt: skip
