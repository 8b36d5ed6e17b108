"""Which room audits a study: its task says what is done with images: named, searched, told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from secondlook import registry
from secondlook.audit import finish as naming_finish
from secondlook.audit import plan as naming_plan
from secondlook.audit import run as naming_run
from secondlook.audit.captioning.subject import Telling
from secondlook.audit.grounding.subject import Pointing
from secondlook.audit.opening import opened
from secondlook.audit.retrieval import finish as search_finish
from secondlook.audit.retrieval import plan as search_plan
from secondlook.audit.retrieval import run as search_run
from secondlook.audit.run import Shard
from secondlook.audit.schema import Audit
from secondlook.audit.single import finish as single_finish
from secondlook.audit.single import plan as single_plan
from secondlook.audit.single import run as single_run
from secondlook.audit.single.subject import Subject
from secondlook.audit.store import Run
from secondlook.audit.study import Study
from secondlook.models.python import imported
from secondlook.progress import Tick
from secondlook.tasks.captioning import CaptioningTask
from secondlook.tasks.grounding import GroundingTask
from secondlook.tasks.retrieval import RetrievalTask


@dataclass(frozen=True, kw_only=True)
class Room:
    """The steps of an audit; a plan goes from each to the next.

    Attributes:
        plan: from a study to what is to be done.
        execute: does what is not done yet.
        settle: completes a run that was put together from shards.
        finish: writes the result and the page.
    """

    plan: Callable[[Study, torch.device | None], Any]
    execute: Callable[[Any, Path, Shard, Tick, str], Run]
    settle: Callable[[Any, Run, Tick], Run]
    finish: Callable[[Any, Run], Audit]


def _nothing_left(plan: Any, run: Run, tick: Tick) -> Run:
    """Every sample is decided on by itself: the shards' records are all there is."""
    return run


NAMING = Room(
    plan=naming_plan.plan, execute=naming_run.execute, settle=_nothing_left,
    finish=naming_finish.finish,
)  # fmt: skip
SEARCHING = Room(
    plan=search_plan.plan, execute=search_run.execute, settle=search_run.judge,
    finish=search_finish.finish,
)  # fmt: skip


def _single(subject: Callable[[Any], Subject[Any]]) -> Room:
    """A room where images are judged one by one."""
    return Room(
        plan=lambda study, device: single_plan.plan(study, subject(opened(study, device))),
        execute=single_run.execute, settle=_nothing_left, finish=single_finish.finish,
    )  # fmt: skip


TELLING, POINTING = _single(Telling), _single(Pointing)


def room(study: Study) -> Room:
    """Where a study's task is audited.

    Raises:
        UnknownName: there is no such task.
    """
    for plugin in study.plugins:
        imported(f"plugins: {plugin!r}", plugin)
    task = registry.find("task", study.task.get("name", "zeroshot"))
    rooms = {RetrievalTask: SEARCHING, CaptioningTask: TELLING, GroundingTask: POINTING}
    return next((found for kind, found in rooms.items() if issubclass(task, kind)), NAMING)
