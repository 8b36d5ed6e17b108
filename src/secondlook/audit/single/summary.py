"""From records to the typed result, with its health checks and headlines."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from secondlook import statistics
from secondlook.audit.figures import share
from secondlook.audit.health import Evidence, check_cell
from secondlook.audit.schema import Audit, Cell, Metric, Outcomes, ThreatRow
from secondlook.audit.single.matrix import Plan, Row
from secondlook.audit.store import Record, Run, read_json
from secondlook.audit.summary import Records, assembled, by_cell, costs, notices
from secondlook.decision import Outcome


def summarise(plan: Plan, run: Run) -> Audit:
    """The whole result, from what is on disk."""
    records, ledger = by_cell(run), list(run.ledger)
    cells = [_cell(plan, cell, records, ledger) for cell in plan.cells if cell.id in records]
    known = plan.subject.attributes()
    return assembled(plan.study, _provenance(plan, run), cells, records, ledger, known)


def _provenance(plan: Plan, run: Run) -> Record:
    return {
        **read_json(run.folder / "run.json"), "models": plan.hashes,
        "data": plan.subject.task.source.hash, "about": plan.study.about, **plan.subject.told(),
    }  # fmt: skip


def _cell(plan: Plan, row: Row, records: Records, ledger: list[Record]) -> Cell:
    rows, forge, threat = records[row.id], row.forge, row.threat
    own = [line for line in ledger if line.get("cell") == row.id]
    ended = Counter(record["outcome"] for record in rows)
    cell = Cell(
        id=row.id, task=plan.subject.task.name, model=row.lens.model.name, defence=row.label,
        attack=forge.settings["name"] if forge else "none", knowledge=row.knowledge,
        threat=ThreatRow(
            norm=threat.norm if threat else plan.study.threat.norm, eps=threat.eps if threat else 0
        ),
        n=len(rows), metrics=_metrics(plan, rows),
        outcomes=Outcomes(**{str(kind): ended[str(kind)] for kind in Outcome}),
        ledger=costs(own), health=[],
        settings={"defence": row.settings, "attack": forge.settings if forge else {}},
        surrogates=_surrogates(row), resolution=_resolution(plan, row),
        goal=plan.subject.goal(row.aim), notices=notices(own),
    )  # fmt: skip
    evidence = _evidence(plan, row, ledger)
    return cell.model_copy(update={"health": check_cell(cell, rows, evidence)})


def _metrics(plan: Plan, rows: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
    found = plan.subject.figures(rows)
    for name in ("original_top1", "reached", "reached_worst"):
        found[name] = share([row[name] for row in rows])
    if "words" in rows[0]:
        found["words_changed"] = average([float(np.mean(row["words"])) for row in rows])
        spread = [float(word) for word in chain.from_iterable(row["words"] for row in rows)]
        deviation = float(np.std(spread, ddof=1)) if len(spread) > 1 else 0.0
        found["words_changed"] = found["words_changed"].model_copy(update={"sd": deviation})
    return found


def average(values: Sequence[float]) -> Metric:
    """A mean over the samples, with Student's interval."""
    return Metric(**statistics.mean(values)._asdict())


def _surrogates(row: Row) -> list[str]:
    if row.forge is None or (row.knowledge == "adaptive" and row.forge.asked is None):
        return []
    return [lens.model.name for lens in row.forge.victims]


def _resolution(plan: Plan, row: Row) -> list[int]:
    return list(plan.subject.batch([0], row.lens.size).pairs.images.shape[-2:])


def _evidence(plan: Plan, row: Row, ledger: list[Record]) -> Evidence:
    """What the health checks go by beside the records."""
    twin = plan.probes.get(row.forge.id) if row.forge else None
    probes = {line["probe"]: line for line in ledger if "probe" in line}
    looks = {line["inspected"]: line for line in ledger if "inspected" in line}
    return Evidence(
        probe=probes.get(twin.id) if twin else None, hashes=plan.hashes,
        inspection=looks.get(plan.clean(row).id), stochastic=row.lens.defence.stochastic,
    )  # fmt: skip
