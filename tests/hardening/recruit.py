"""One process of a team that trains a pupil without batch statistics: FOLDER METHOD."""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from secondlook import registry
from secondlook.hardening.checkpoint import Checkpoint
from secondlook.hardening.course import Course
from secondlook.hardening.probe import Glance
from secondlook.hardening.student import Student
from secondlook.hardening.team import team
from secondlook.hardening.trainer import Training
from tests.hardening.school import Yard, pupil


def train(folder: Path, name: str) -> None:
    """Trains for six steps of 12 samples, and leaves the weights in ``folder/RANK.pt``."""
    with team() as mine:
        under = pupil()
        under.network.norm = nn.Identity()
        method, yard = registry.build("method", name, {"eps": 4 / 255}), Yard(48)
        student = Student(under, method.part, team=mine)
        training = Training(
            student=student, lesson=method.bind(student, yard), lessons=yard,
            course=Course(steps=6, batch=12, rate=0.02),
            checkpoint=Checkpoint(path=folder / "a.checkpoint", identity={}),
        )  # fmt: skip
        training.run(lambda: Glance(0, 0), lambda done, of, what: None)
        torch.save(student.network.state_dict(), folder / f"{mine.rank}.pt")


if __name__ == "__main__":
    train(Path(sys.argv[1]), sys.argv[2])
