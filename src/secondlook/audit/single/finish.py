"""The end of a run: the result, the gallery and the page."""

from __future__ import annotations

from secondlook.attacks.pairs import Pairs
from secondlook.audit.exhibit import Shown
from secondlook.audit.finish import publish
from secondlook.audit.retrieval.sets import load_part
from secondlook.audit.schema import Audit
from secondlook.audit.single.matrix import Forge, Plan, Row
from secondlook.audit.single.summary import summarise
from secondlook.audit.store import Record, Run
from secondlook.audit.summary import Records, by_cell


def finish(plan: Plan, run: Run) -> Audit:
    """Writes ``audit.json``, ``gallery.json`` and ``report.html`` of a run."""
    return publish(summarise(plan, run), exhibits(plan, run), run)


def exhibits(plan: Plan, run: Run) -> list[Shown]:
    """The first samples of the task, each under another of the attacks at the largest budget."""
    cells, records = _worth_showing(plan), by_cell(run)
    shown = []
    for at in range(min(plan.study.exhibits, len(plan.subject.task.rows)) if cells else 0):
        found = _exhibit(plan, run, cells[at % len(cells)], at, records)
        shown += [found] if found else []
    return shown


def _worth_showing(plan: Plan) -> list[Row]:
    """Rows at the largest eps, one for each defence and attack."""
    eps = max((cell.threat.eps for cell in plan.cells if cell.threat), default=0.0)
    found: dict[tuple[int, str], Row] = {}
    for cell in plan.cells:
        if cell.forge and cell.threat and cell.threat.eps == eps:
            found[id(cell.lens), cell.forge.id] = cell
    return list(found.values())


def _exhibit(plan: Plan, run: Run, cell: Row, at: int, records: Records) -> Shown | None:
    name, forge = plan.subject.task.ids[at], cell.forge
    rows = [_record(records, each, name) for each in (plan.clean(cell), cell)]
    given = _given(plan, run, forge, at) if forge else None
    if forge is None or given is None or not all(rows):
        return None
    about = {
        "sample": name, "model": cell.lens.model.name, "defence": cell.label,
        "attack": forge.settings["name"], "knowledge": cell.knowledge, "aim": cell.aim,
    }  # fmt: skip
    return plan.subject.exhibit(at, cell.lens, given, (rows[0], rows[1]), about)


def _record(records: Records, cell: Row, name: str) -> Record:
    return next((row for row in records.get(cell.id, []) if row["sample"] == name), {})


def _given(plan: Plan, run: Run, forge: Forge, at: int) -> Pairs | None:
    """One sample as the attacker has left it; None where a shard has not got it."""
    part = load_part(run.adversarial(forge.id, at // plan.study.batch))
    if part is None:
        return None
    place = at % plan.study.batch
    images = part.pairs.images[place : place + 1].to(plan.subject.task.device)
    return Pairs(images, part.pairs.captions[place : place + 1])
