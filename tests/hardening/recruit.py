"""One process of a team that trains a pupil without batch statistics: FOLDER METHOD [bf16]."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from secondlook import registry
from secondlook.hardening.base import Lesson
from secondlook.hardening.checkpoint import Checkpoint
from secondlook.hardening.course import Course
from secondlook.hardening.probe import Glance
from secondlook.hardening.student import Student
from secondlook.hardening.team import team
from secondlook.hardening.trainer import Training
from tests.hardening.school import Yard, pupil

STEPS = 50


def train(
    folder: Path, name: str, bf16: bool = False,
    wrap: Callable[[Lesson], Lesson] = lambda lesson: lesson,
) -> None:  # fmt: skip
    """Trains for 50 steps of 12 samples; leaves weights in ``RANK.pt``, losses in ``losses.json``.

    A checkpoint is written every tenth step, and gone on from where there is one.
    """
    with team() as mine:
        under = pupil()
        under.network.norm = nn.Identity()
        method, yard = registry.build("method", name, {"eps": 4 / 255}), Yard(48)
        student = Student(under, method.part, bf16, team=mine)
        training = Training(
            student=student, lesson=wrap(method.bind(student, yard)), lessons=yard,
            course=Course(steps=STEPS, batch=12, rate=0.01),
            checkpoint=Checkpoint(path=folder / "a.checkpoint", identity={}),
        )  # fmt: skip
        training.run(lambda: Glance(0, 0), lambda done, of, what: None, every=10)
        torch.save(student.network.state_dict(), folder / f"{mine.rank}.pt")
        if mine.rank == 0:
            (folder / "losses.json").write_text(json.dumps([row[1] for row in training.history]))


if __name__ == "__main__":
    train(Path(sys.argv[1]), sys.argv[2], sys.argv[3:] == ["bf16"])
