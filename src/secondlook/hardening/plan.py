"""What is hardened, how, and on what; and the data that follows from it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from secondlook import registry
from secondlook.data import load as load_data
from secondlook.hardening.base import Method
from secondlook.hardening.course import Course
from secondlook.hardening.lessons import Lessons, SceneLessons, SourceLessons
from secondlook.models.base import Embedder
from secondlook.progress import Tick
from secondlook.scenes.sampling import Split
from secondlook.scenes.training.images import load as render

LEARNT = 30_000
"""Scenes of the train split that a student learns from, where no other data is named."""
MEASURED = 1000
"""Scenes of the test split that it is measured on."""
PROBED = 128
"""Scenes of the val split that it is looked at on its way."""


@dataclass(frozen=True, kw_only=True)
class Hardening:
    """One hardening, whole.

    Attributes:
        model: an embedder by name.
        method: what it is taught.
        course: how long and how fast.
        data: images to learn from by name; empty for the scenes of the embedded world.
        test: images to measure on by name; empty for scenes, or for none where ``data`` is given.
        bf16: whether the encoders run in bf16.
        device: where it is trained.
        workers: processes that render scenes.
        command: what makes it again, for the card.
    """

    model: str
    method: Method
    course: Course
    data: str = ""
    test: str = ""
    bf16: bool = False
    device: str = "cpu"
    workers: int = 1
    command: str = ""

    def identity(self, embedder: Embedder, lessons: Lessons) -> dict[str, Any]:
        """What makes a training this one; place, device and number of processes do not."""
        return {
            "method": registry.describe(self.method),
            "course": asdict(self.course),
            "model": {"name": self.model, "hash": embedder.hash},
            "data": {"told": lessons.told, "hash": lessons.hash},
            "bf16": self.bf16,
        }

    def learnt(self, embedder: Embedder, tick: Tick) -> Lessons:
        """What it learns from."""
        return self._read(self.data, embedder, "train", LEARNT, tick)

    def probed(self, embedder: Embedder, tick: Tick) -> Lessons | None:
        """What it is looked at with on its way; None for what it learns from."""
        if self.data and not self.test:
            return None
        return self._read(self.test, embedder, "val", PROBED, tick)

    def measured(self, embedder: Embedder, tick: Tick) -> Lessons | None:
        """What the result is measured on; None where the user names none."""
        if self.data and not self.test:
            return None
        return self._read(self.test, embedder, "test", MEASURED, tick)

    def _read(
        self, name: str, embedder: Embedder, split: Split, scenes: int, tick: Tick
    ) -> Lessons:
        if name:
            size = getattr(embedder, "size", None)
            return SourceLessons(load_data(name), self.method.need, size, name)
        return SceneLessons(render(0, split, scenes, self.workers, tick), split, 0)
