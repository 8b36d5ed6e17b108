"""From records to cells and headlines: metrics with intervals, costs, votes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from types import MappingProxyType

import numpy as np

from secondlook import statistics
from secondlook.audit import rejection
from secondlook.audit.columns import Rows
from secondlook.audit.damage import damage, members
from secondlook.audit.detection import Attributes, detected
from secondlook.audit.figures import metrics
from secondlook.audit.health import Evidence, check_cell
from secondlook.audit.matrix import CellPlan, Plan
from secondlook.audit.rivalry import check_group
from secondlook.audit.schema import Audit, Cell, Cost, Metric, Outcomes, ThreatRow, Vote
from secondlook.audit.store import Record, Run, read_json
from secondlook.audit.study import Study
from secondlook.audit.verdict import headlines
from secondlook.decision import Outcome
from secondlook.defenses.consensus import Consensus

Records = dict[str, Rows]


def by_cell(run: Run) -> Records:
    """Records by the id of their cell, one per sample, in the order of the sample ids."""
    found: dict[str, Rows] = defaultdict(Rows)
    for record in run.records:
        found[record["cell"]].add(record)
    return {cell: rows.ordered() for cell, rows in found.items()}


def summarise(plan: Plan, run: Run) -> Audit:
    """The whole result, from what is on disk."""
    records = by_cell(run)
    ledger = list(run.ledger)
    cells = [_cell(plan, cell, records, ledger) for cell in plan.cells if cell.id in records]
    return assembled(plan.study, _provenance(plan, run), cells, records, ledger)


def assembled(
    study: Study, provenance: Record, cells: list[Cell], records: Records,
    ledger: Sequence[Record] = (), attributes: Attributes = MappingProxyType({}),
) -> Audit:  # fmt: skip
    """Rows with what looks across them: detection, checks, and what is the worst of them."""
    cells = check_group(detected(cells, records, ledger, attributes), records)
    return Audit(
        study=study.name, title=study.title or study.name, provenance=provenance, cells=cells,
        headline=headlines(cells, records),
    )  # fmt: skip


def _provenance(plan: Plan, run: Run) -> Record:
    head = read_json(run.folder / "run.json")
    return {
        **head, "models": plan.hashes, "data": plan.task.source.hash,
        "about": plan.study.about, "prompt": plan.task.task.prompt or plan.task.source.prompt,
    }  # fmt: skip


def _cell(plan: Plan, planned: CellPlan, records: Records, ledger: list[Record]) -> Cell:
    forge, rows = planned.forge, records[planned.id]
    own = [line for line in ledger if line.get("cell") == planned.id]
    threat = ThreatRow(
        norm=forge.threat.norm if forge else plan.study.threat.norm,
        eps=forge.threat.eps if forge else 0.0,
    )
    cell = Cell(
        id=planned.id, task=plan.task.name, model=planned.defence.model.name,
        defence=planned.label, attack=forge.settings["name"] if forge else "none",
        knowledge=planned.knowledge, threat=threat, n=len(rows),
        metrics=_metrics(plan, planned, records), outcomes=_outcomes(rows), ledger=costs(own),
        health=[],
        settings={"defence": planned.settings, "attack": forge.settings if forge else {}},
        surrogates=_surrogates(planned), resolution=_resolution(plan, planned),
        vote=_vote(planned, rows), goal=plan.task.task.goal,
        controls={} if planned.targeted else rejection.controls(rows),
        risk=None if planned.targeted else rejection.risk_curve(rows),
        members=members(rows, next((line["members"] for line in own if "members" in line), [])),
        notices=notices(own),
    )  # fmt: skip
    evidence = _evidence(plan, planned, ledger)
    return cell.model_copy(update={"health": check_cell(cell, rows, evidence)})


def _metrics(plan: Plan, planned: CellPlan, records: Records) -> dict[str, Metric]:
    """The row's own figures, those of its outcomes, and what it lost against its clean row."""
    rows, clean = records[planned.id], plan.clean(planned)
    found = metrics(rows)
    if not planned.targeted:
        found |= rejection.figures(rows)
    if planned.forge is not None:
        found |= damage(rows, records.get(clean.id, []))
    return found


def _evidence(plan: Plan, planned: CellPlan, ledger: list[Record]) -> Evidence:
    """What the health checks go by beside the records."""
    twin = plan.probes.get(planned.forge.id) if planned.forge else None
    probes = {line["probe"]: line for line in ledger if "probe" in line}
    looks = {line["inspected"]: line for line in ledger if "inspected" in line}
    return Evidence(
        probe=probes.get(twin.id) if twin else None, hashes=plan.hashes,
        inspection=looks.get(plan.clean(planned).id), stochastic=planned.defence.stochastic,
    )  # fmt: skip


def _outcomes(rows: Sequence[Record]) -> Outcomes:
    counts = Counter(row["outcome"] for row in rows)
    return Outcomes(**{str(kind): counts[str(kind)] for kind in Outcome})


def notices(ledger: list[Record]) -> list[str]:
    """What the attack said of itself, each once."""
    return list(dict.fromkeys(text for line in ledger for text in line.get("notices", [])))


def costs(ledger: list[Record]) -> Cost:
    """Sums over the chunks; the last line of a chunk is the one that counts."""
    last = {line["chunk"]: line for line in ledger}.values()

    def total(part: str, key: str) -> float:
        return float(sum(line[part].get(key, 0) for line in last))

    bare = total("decide", "bare_seconds")
    return Cost(
        forwards=int(total("decide", "forwards")), backwards=int(total("decide", "backwards")),
        seconds=round(total("decide", "seconds"), 4),
        overhead=round(total("decide", "seconds") / bare, 3) if bare else 0.0,
        peak_memory=max((line["decide"]["peak_memory"] for line in last), default=0),
        attack_forwards=int(total("attack", "forwards")),
        attack_backwards=int(total("attack", "backwards")),
        attack_seconds=round(total("attack", "seconds"), 3),
    )  # fmt: skip


def _surrogates(planned: CellPlan) -> list[str]:
    if planned.forge is None or planned.knowledge == "adaptive":
        return []
    return [victim.model.name for victim in planned.forge.victims]


def _resolution(plan: Plan, planned: CellPlan) -> list[int]:
    size = planned.defence.model.size
    if size is not None:
        return list(size)
    return list(plan.task.source.read([plan.task.rows[0]], None).images.shape[-2:])


def _vote(planned: CellPlan, rows: Sequence[Record]) -> Vote | None:
    """The observed vote against the bound that holds for independent votes."""
    defence = planned.defence
    if planned.forge is None or not isinstance(defence, Consensus) or defence.votes < 2:
        return None
    eta = np.array([row["eta"] for row in rows])
    bounds = [statistics.majority_bound(float(each), defence.votes) for each in eta]
    return Vote(
        votes=defence.votes, eta=float(eta.mean()), bound=float(np.mean(bounds)),
        captured=float(np.mean([row["captured"] for row in rows])),
        pooled_bound=statistics.majority_bound(float(eta.mean()), defence.votes),
        histogram=[int(n) for n in np.histogram(eta, bins=10, range=(0, 1))[0]],
    )  # fmt: skip
