"""The gallery: examples of what attacks changed and what came of it, and ``gallery.json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from pydantic import ConfigDict, ValidationError

from secondlook.attacks.pairs import Pairs
from secondlook.audit.adversarial import AdversarialSet, load_part
from secondlook.audit.plan import Plan, Row, partition
from secondlook.audit.store import Record, Run, reading
from secondlook.audit.summary import Records, by_cell
from secondlook.errors import BrokenRun
from secondlook.places import everywhere
from secondlook.tasks.base import Shown
from secondlook.tasks.view import Example, installed, name_of, view_of


class UnknownExample(Example):
    """An example of a task that is not installed: its fields are what they are."""

    model_config = ConfigDict(extra="allow", frozen=True)


def written(examples: Sequence[Example], change: Callable[[str], str]) -> bytes:
    """What ``gallery.json`` holds, each text but the pictures as ``change`` makes it."""
    return json.dumps(everywhere([example.model_dump() for example in examples], change)).encode()


def read_examples(path: Path) -> list[Example]:
    """The examples of a ``gallery.json``; none where there is no such file.

    Raises:
        BrokenRun: it holds something else.
    """
    with reading(path):
        if not path.exists():
            return []
        content = path.read_bytes()
    try:
        return [_read(table) for table in json.loads(content)]
    except (ValidationError, ValueError, TypeError, KeyError, RecursionError):
        raise BrokenRun(f"{path} is no gallery; run the audit again, which writes it anew") from None


def _read(table: dict[str, object]) -> Example:
    task = str(table["task"])
    kind = view_of(task).example if installed(task) else UnknownExample
    return kind.model_validate(table)


def examples(plan: Plan, run: Run) -> list[Example]:
    """The first samples of the task, each under another of the attacks at the largest budget."""
    rows, records = _worth_showing(plan), by_cell(run)
    count = min(plan.study.examples, len(plan.task.rows)) if rows else 0
    return [found for at in range(count) for found in _example(plan, run, rows[at % len(rows)], at, records)]


def _worth_showing(plan: Plan) -> list[Row]:
    """Rows at the largest eps, one for each defense and attack; of several variants the last."""
    eps = max((row.threat.eps for row in plan.rows if row.threat), default=0.0)
    found: dict[tuple[int, str], Row] = {}
    for row in plan.rows:
        if row.spec and row.threat and row.threat.eps == eps:
            found[id(row.guarded), row.spec.id] = row
    return list(found.values())


def _example(plan: Plan, run: Run, row: Row, at: int, records: Records) -> Iterator[Example]:
    """One sample; nothing where a shard has not got it."""
    assert row.spec is not None
    every = partition(len(plan.task.ids), plan.study.batch, run.parts)
    chunk = next(chunk for chunk in every if at in chunk.at)
    path = run.adversarial(row.spec.id, chunk.number)
    part, name = load_part(path), plan.task.ids[at]
    before, after = (_record(records, each, name) for each in (plan.clean(row), row))
    if part is None or not before or not after:
        return
    place = chunk.at.index(at)
    images = part.adversarial.images[place : place + 1].to(plan.task.device)
    given = Pairs(images, part.adversarial.captions[place : place + 1])
    about = {
        "task": name_of(plan.task.name),
        "sample": name,
        "model": row.guarded.model.name,
        "defense": row.label,
        "attack": str(row.spec.settings["name"]),
        "knowledge": str(row.knowledge),
    }
    stored = AdversarialSet(path.parent) if plan.task.collective else None
    found = plan.task.example(
        row.guarded,
        Shown(
            at=at,
            given=given,
            stored=stored,
            before=before,
            after=after,
            objective=row.objective,
            variant=row.variant,
            about=about,
        ),
    )
    if found is not None:
        yield found


def _record(records: Records, row: Row, name: str) -> Record:
    rows = cast(Sequence[Mapping[str, object]], records.get(row.id, []))
    return next((dict(found) for found in rows if found["sample"] == name), {})
