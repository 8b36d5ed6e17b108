"""From records of searches to the typed result, with its health checks and headlines."""

from __future__ import annotations

from collections.abc import Sequence

from secondlook.audit.health import enough_draws, enough_samples, other_surrogate, unbounded
from secondlook.audit.retrieval.figures import figures
from secondlook.audit.retrieval.matrix import SearchCell, SearchPlan
from secondlook.audit.schema import Audit, Cell, Check, Outcomes, ThreatRow
from secondlook.audit.search import searched
from secondlook.audit.store import Record, Run, read_json
from secondlook.audit.summary import Records, assembled, by_cell, costs, notices


def summarise(plan: SearchPlan, run: Run) -> Audit:
    """The whole result, from what is on disk; a shard that only crafted has no rows yet."""
    records, ledger = by_cell(run), list(run.ledger)
    cells = [_cell(plan, cell, records, ledger) for cell in plan.cells if cell.id in records]
    return assembled(plan.study, _provenance(plan, run), cells, records)


def _provenance(plan: SearchPlan, run: Run) -> Record:
    return {
        **read_json(run.folder / "run.json"), "models": plan.hashes,
        "data": plan.task.source.hash, "about": plan.study.about,
        "images": len(plan.task.rows), "captions": len(plan.task.texts),
        "captions that say what another image's does": _shared(plan),
        "caveat": plan.task.source.provenance,
    }  # fmt: skip


def _shared(plan: SearchPlan) -> int:
    return sum(len(images) > 1 for images in plan.task.alike.images)


def _cell(plan: SearchPlan, cell: SearchCell, records: Records, ledger: list[Record]) -> Cell:
    rows, forge = records[cell.id], cell.forge
    own = [line for line in ledger if line.get("cell") == cell.id]
    made = figures(rows, records.get(plan.clean(cell).id, []))
    right = sum(row["outcome"] == "correct" for row in rows)
    threat = cell.threat
    found = Cell(
        id=cell.id, task=plan.task.name, model=cell.seen.embedder.name, defence=cell.label,
        attack=forge.settings["name"] if forge else "none", knowledge=cell.knowledge,
        threat=ThreatRow(
            norm=threat.norm if threat else plan.study.threat.norm, eps=threat.eps if threat else 0
        ),
        n=len(rows), metrics=made.metrics, denominators=made.denominators,
        outcomes=Outcomes(correct=right, wrong=len(rows) - right, rejected=0),
        ledger=costs(own), health=[], settings=_settings(cell), goal="retrieval",
        surrogates=_surrogates(cell), resolution=list(cell.seen.size or ()),
        notices=notices(own),
    )  # fmt: skip
    return found.model_copy(update={"health": _checks(plan, cell, found, rows, ledger)})


def _surrogates(cell: SearchCell) -> list[str]:
    if cell.forge is None or cell.knowledge == "adaptive":
        return []
    return [victim.name for victim in cell.forge.victims]


def _settings(cell: SearchCell) -> dict[str, Record]:
    attack = {**cell.forge.settings, "attacked": cell.setting} if cell.forge else {}
    return {"defence": cell.settings, "attack": attack}


def _checks(
    plan: SearchPlan, planned: SearchCell, cell: Cell, rows: Sequence[Record], ledger: list[Record]
) -> list[Check]:
    checks = [enough_samples(cell.n)]
    if planned.forge is None:
        if cell.notices:
            told = "; ".join(cell.notices)
            checks.append(Check(check="captions are read as written", status="warn", detail=told))
        return checks
    if "steps" in rows[0]:
        checks += searched(cell, rows)
    if cell.knowledge == "transfer":
        checks.append(other_surrogate(cell, plan.hashes))
    if cell.knowledge == "adaptive" and planned.seen.defence.stochastic:
        checks.append(enough_draws(cell))
    twin = plan.probes.get(planned.forge.id)
    probe = next((line for line in ledger if twin and line.get("probe") == twin.id), None)
    if probe is not None and planned.setting != "gallery":
        reached = [{"sample": r["sample"], "reached": r["image_to_text"] > 1} for r in rows]
        checks.append(unbounded(probe, reached))
    if cell.notices:
        told = "; ".join(cell.notices)
        checks.append(Check(check="the attack's own flags", status="warn", detail=told))
    return checks
