"""From records to cells and headlines: metrics with intervals, costs, votes."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import isfinite

import numpy as np

from secondlook import statistics
from secondlook.audit.health import check_cell, check_group
from secondlook.audit.plan import CellPlan, Plan
from secondlook.audit.schema import Audit, Cell, Cost, Metric, Outcomes, ThreatRow, Vote
from secondlook.audit.store import Record, Run, read_json
from secondlook.audit.verdict import headlines
from secondlook.decision import Outcome
from secondlook.defenses.consensus import Consensus

_SHARES = tuple(
    f"{who}_top{k}" for who in ("target", "original") for k in ("1", "5", "1_worst", "1_vote")
)
_COSINES = ("cosine_target", "cosine_original", "cosine_clean_image")
_MEANS = (*_COSINES, "suspicion", "draws")
_RANGES = dict.fromkeys(_COSINES, (-1.0, 1.0))
"""What a mean can be at all; its interval goes no further, and of one sample it is just that."""

Records = dict[str, list[Record]]


def by_cell(run: Run) -> Records:
    """Records by the id of their cell, one per sample, in the order of the sample ids."""
    found: dict[str, dict[str, Record]] = defaultdict(dict)
    for record in run.records:
        found[record["cell"]][record["sample"]] = record
    return {cell: [rows[key] for key in sorted(rows)] for cell, rows in found.items()}


def summarise(plan: Plan, run: Run) -> Audit:
    """The whole result, from what is on disk."""
    records = by_cell(run)
    ledger = list(run.ledger)
    probes = {line["probe"]: line for line in ledger if "probe" in line}
    planned = {plan_cell.id: plan_cell for plan_cell in plan.cells if plan_cell.id in records}
    cells = [
        _cell(plan, planned[key], records[key], [e for e in ledger if e.get("cell") == key], probes)
        for key in planned
    ]
    cells = check_group(cells, records)
    return Audit(
        study=plan.study.name, title=plan.study.title or plan.study.name,
        provenance=_provenance(plan, run), cells=cells, headline=headlines(cells, records),
    )  # fmt: skip


def _provenance(plan: Plan, run: Run) -> Record:
    head = read_json(run.folder / "run.json")
    return {
        **head, "models": plan.hashes, "data": plan.task.source.hash,
        "about": plan.study.about, "prompt": plan.task.task.prompt or plan.task.source.prompt,
    }  # fmt: skip


def _cell(
    plan: Plan, planned: CellPlan, rows: list[Record], ledger: list[Record], probes: Record
) -> Cell:
    forge = planned.forge
    threat = ThreatRow(
        norm=forge.threat.norm if forge else plan.study.threat.norm,
        eps=forge.threat.eps if forge else 0.0,
    )
    cell = Cell(
        id=planned.id, task=plan.task.name, model=planned.defence.model.name,
        defence=planned.label, attack=forge.settings["name"] if forge else "none",
        knowledge=planned.knowledge, threat=threat, n=len(rows), metrics=metrics(rows),
        outcomes=_outcomes(rows), ledger=_cost(ledger), health=[],
        settings={"defence": planned.settings, "attack": forge.settings if forge else {}},
        surrogates=_surrogates(planned), resolution=_resolution(plan, planned),
        vote=_vote(planned, rows),
    )  # fmt: skip
    twin = plan.probes.get(forge.id) if forge else None
    probe = probes.get(twin.id) if twin else None
    return cell.model_copy(update={"health": check_cell(cell, rows, probe, plan.hashes)})


def metrics(rows: Sequence[Record]) -> dict[str, Metric]:
    """Shares with Wilson's interval, means with Student's and their standard deviation."""
    found = {}
    for name in _SHARES:
        values = [row[name] for row in rows]
        found[name] = Metric(**statistics.wilson(sum(values), len(values))._asdict())
    for name in _MEANS:
        values = [row[name] for row in rows if row.get(name) is not None]
        if values:
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            centre, low, high = statistics.mean(values)
            least, most = _RANGES.get(name, (0.0, float("inf")))
            low, high = max(low, least), min(high, most)
            if isfinite(high):
                found[name] = Metric(value=centre, low=low, high=high, sd=spread)
    return found


def _outcomes(rows: Sequence[Record]) -> Outcomes:
    counts = Counter(row["outcome"] for row in rows)
    return Outcomes(**{str(kind): counts[str(kind)] for kind in Outcome})


def _cost(ledger: list[Record]) -> Cost:
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
