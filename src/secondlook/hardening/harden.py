"""From a model and a method to a hardened model: train, measure, write weights and card."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from secondlook.errors import InvalidInput
from secondlook.hardening.checkpoint import Checkpoint
from secondlook.hardening.lessons import Lessons
from secondlook.hardening.measure import figures
from secondlook.hardening.plan import Hardening
from secondlook.hardening.probe import Probe
from secondlook.hardening.shelf import place
from secondlook.hardening.student import Student
from secondlook.hardening.team import Team
from secondlook.hardening.team import team as together
from secondlook.hardening.trainer import Training
from secondlook.models import load
from secondlook.models.base import Embedder
from secondlook.progress import Tick
from secondlook.scenes import difference


def harden(plan: Hardening, out: Path, tick: Tick) -> dict[str, Any]:
    """Hardens a model into ``out/NAME-METHOD.safetensors`` and ``.json``.

    A killed training goes on from ``out/NAME-METHOD.checkpoint``, which is removed at the end; a
    finished one is not begun again.

    Returns:
        The model card; nothing, in a process of a team that is not its first.

    Raises:
        UnknownName: there is no such model or data.
        InvalidInput: the model is no embedder, the data does not fit the method, holds too few
            samples, or ``out`` holds something else under this name.
        BrokenRun: the loss became infinite or NaN; the last good checkpoint is kept.
    """
    embedder = load(plan.model)
    if not isinstance(embedder, Embedder):
        raise InvalidInput(f"--model {plan.model} is no embedder; name another: scenes:clip")
    where = place(out, plan.model, plan.method)
    lessons = plan.learnt(embedder, tick)
    identity = plan.identity(embedder, lessons)
    done = where.finished(identity)
    if done is not None:
        return done
    original = difference.state(embedder)
    checkpoint = Checkpoint(path=where.checkpoint, identity=identity)
    with together(plan.device) as team:
        training = trained(plan, embedder, lessons, checkpoint, tick, team)
    if team.rank:
        return {}
    weights = difference.shrink(embedder, original)
    return where.put(weights, {
        "name": where.name,
        "role": "embedder",
        "base": identity["model"],
        "data": lessons.told,
        "command": plan.command,
        "recipe": identity,
        "parameters": sum(p.numel() for p in training.student.network.parameters()),
        "learned": sum(p.numel() for p in training.student.parameters.values()),
        **({"augmentation": training.augmentation} if training.augmentation else {}),
        **_figures(plan, embedder, tick),
        "history": [[round(value, 4) for value in row] for row in training.history],
        "licence": "Apache-2.0" if plan.model.startswith("scenes:") else "that of the base",
    })  # fmt: skip


def trained(
    plan: Hardening, embedder: Embedder, lessons: Lessons, checkpoint: Checkpoint, tick: Tick,
    team: Team,
) -> Training:  # fmt: skip
    """Trains ``embedder`` in place; it comes back on the CPU and in eval mode."""
    embedder.to(torch.device(plan.device))
    student = Student(embedder, plan.method.part, plan.bf16, team)
    told = plan.method.diagnose(student, lessons)
    training = Training(
        student=student, lesson=plan.method.bind(student, lessons), lessons=lessons,
        course=plan.course, checkpoint=checkpoint,
        augmentation={name: _rounded(each._asdict()) for name, each in told.items()},
    )  # fmt: skip
    probed = plan.probed(embedder, tick) or lessons
    training.run(Probe(student, probed, plan.method.radius), tick)
    student.network.requires_grad_(False)
    embedder.to(torch.device("cpu"))
    return training


def _figures(plan: Hardening, hardened: Embedder, tick: Tick) -> dict[str, Any]:
    held = plan.measured(hardened, tick)
    if held is None:
        return {"measured": {}, "measured_on": "nothing: no --test was given"}
    found = figures(hardened, load(plan.model), held, plan.method.radius, tick)
    return {"measured": _rounded(found), "measured_on": held.told}


def _rounded(figures: Mapping[str, float]) -> dict[str, float]:
    return {key: round(value, 4) for key, value in figures.items()}
