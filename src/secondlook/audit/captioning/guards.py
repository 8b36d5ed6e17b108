"""Captioners behind detectors, each calibrated once, who speak in the style of the task."""

from __future__ import annotations

from typing import NamedTuple

from secondlook.audit.single.lens import Lens
from secondlook.defenses.calibration import thresholds
from secondlook.defenses.suspecting import Suspecting
from secondlook.defenses.watched import Watched
from secondlook.models.captioner import Captioner
from secondlook.tasks.captioning import CaptioningTask


class Guard(NamedTuple):
    """A watched captioner, and where it would draw the line at the usual rates.

    Attributes:
        watched: the captioner and its detector, at the threshold of the study.
        thresholds: by false rejection, as far as there is clean data for each.
    """

    watched: Watched
    thresholds: dict[str, float]


class Guards:
    """The guards of a study, by lens.

    Args:
        task: says how captions are written.
    """

    def __init__(self, task: CaptioningTask) -> None:
        self.said = task.said
        self._made: dict[int, tuple[Lens, Guard]] = {}

    def of(self, lens: Lens) -> Guard | None:
        """The guard of a lens that has a detector, calibrated when it is first asked for."""
        if lens.detector is None:
            return None
        if id(lens) not in self._made:
            self._made[id(lens)] = (lens, self._calibrated(lens))
        return self._made[id(lens)][1]

    def _calibrated(self, lens: Lens) -> Guard:
        captioner, defence = lens.model, lens.defence
        assert isinstance(captioner, Captioner) and isinstance(defence, Suspecting)
        loose = Watched(
            captioner=captioner, detector=defence.detector, threshold=defence.most, said=self.said
        )
        if defence.calibration is None:
            return Guard(loose, {})
        scores = loose.clean(defence.calibration, defence.calibrate_samples)
        return Guard(loose.at(scores, defence.false_rejection), thresholds(scores))
