"""What augmentations are like to the model that is about to learn from them, for its card."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from secondlook.hardening.augment.mixture import Show, Tell
from secondlook.hardening.diagnostics import Diagnosis, diagnose
from secondlook.hardening.lessons import Lessons
from secondlook.hardening.student import Student
from secondlook.models.base import evaluating
from secondlook.randomness import Keys

SAMPLES = 512
DRAWS = 4


def described(
    student: Student, lessons: Lessons, tells: Mapping[str, Tell], shows: Mapping[str, Show]
) -> dict[str, Diagnosis]:
    """The four figures of each way, over the first samples of the data.

    Args:
        student: whose vectors they are of, in eval mode.
        lessons: the data.
        tells: ways to a caption, by name; held against first captions, to match the images.
        shows: ways to an image, by name; held against the images, to match first captions.
    """
    batch = lessons.read(range(min(SAMPLES, len(lessons)))).to(student.device)
    keys = [Keys.of(0, batch.ids).fold("diagnosis", draw) for draw in range(DRAWS)]
    found: dict[str, Diagnosis] = {}
    with torch.no_grad(), evaluating([student.network]):
        images, firsts = student.look(batch.images), student.read(batch.chosen(keys[0], "first"))
        for name, tell in tells.items():
            told = torch.stack([student.read(tell(batch, each)) for each in keys], 1)
            found[name] = diagnose(told, firsts, images)
        for name, show in shows.items():
            shown = torch.stack([student.look(show(batch, each)) for each in keys], 1)
            found[name] = diagnose(shown, images, firsts)
    return found
