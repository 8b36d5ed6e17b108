"""From records to rows and headlines: figures with intervals, costs, votes, checks."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, cast

import numpy as np

from secondlook import statistics
from secondlook.attacks.base import Attack
from secondlook.audit import certification, diagnosis, resubmission
from secondlook.audit.checks import Evidence, check_cell, check_group, sanity
from secondlook.audit.claims import claimed
from secondlook.audit.columns import Rows
from secondlook.audit.detection import detected
from secondlook.audit.headline import headlines
from secondlook.audit.plan import ASKED, Plan, Row
from secondlook.audit.store import Record, Run, read_head
from secondlook.decision import Outcome
from secondlook.metrics import outcomes
from secondlook.metrics.figures import average, share
from secondlook.schema import Audit, Cell, Cost, Diagnosis, Metric, Outcomes, SampleRecord, ThreatRow, Vote
from secondlook.tasks.base import Figures, OpenTask
from secondlook.threat import scale

Records = dict[str, Rows]


def by_cell(run: Run) -> Records:
    """Records by the id of their row, one per sample, in the order of the sample ids."""
    found: dict[str, Rows] = defaultdict(Rows)
    for record in run.records:
        found[record["cell"]].add(record)
    return {cell: rows.ordered() for cell, rows in found.items()}


def summarize(plan: Plan, run: Run) -> Audit:
    """The whole result, from what is on disk; a shard that only generated has no rows yet."""
    records, ledger = by_cell(run), list(run.ledger)
    cells = [_cell(plan, row, records, ledger) for row in plan.rows if row.id in records]
    cells = check_group(detected(cells, records, ledger, plan.task.attributes()), records)
    told = headlines(cells, records)
    return Audit(
        study=plan.study.name,
        title=plan.study.title or plan.study.name,
        provenance=_provenance(plan, run),
        cells=cells,
        headline=told,
        claims=claimed(cells, told, records, {row.id: row.card for row in plan.rows if row.card}),
    )


def _provenance(plan: Plan, run: Run) -> Record:
    return {
        **read_head(run.folder),
        "models": plan.hashes,
        "data": plan.task.source.hash,
        "about": plan.study.about,
        **plan.task.provenance(),
    }


def _cell(plan: Plan, row: Row, records: Records, ledger: Sequence[Record]) -> Cell:
    rows, spec, threat = records[row.id], row.spec, row.threat
    own = [line for line in ledger if line.get("cell") == row.id]
    clean: Sequence[SampleRecord] = records.get(plan.clean(row).id, [])
    found = figures(plan.task, rows, clean)
    cell = Cell(
        id=row.id,
        task=plan.task.name,
        model=row.guarded.model.name,
        defense=row.label,
        attack=spec.settings["name"] if spec else "none",
        knowledge=row.knowledge,
        threat=ThreatRow(norm=scale(plan.study.threat.norm, plan.task.signal), eps=threat.eps if threat else 0),
        n=len(rows),
        metrics=found.metrics,
        denominators=found.denominators,
        outcomes=_outcomes(rows),
        ledger=costs(own),
        health=[],
        settings=_settings(plan, row),
        surrogates=_surrogates(row),
        resolution=_resolution(plan, row),
        vote=_vote(row, rows),
        certification=certification.certification(plan, row, rows),
        resubmission=resubmission.curve(rows, resubmission.tries(plan, row)),
        goal=plan.task.goal(row.objective),
        control=row.control,
        controls=found.controls,
        risk=found.risk,
        members=outcomes.members(rows, _members(own)),
        notices=notices(own),
    )
    evidence = _evidence(plan, row, records, ledger)
    cell = cell.model_copy(update={"diagnosis": _diagnosis(row, rows, own, evidence)})
    return cell.model_copy(update={"health": check_cell(cell, rows, evidence)})


def _diagnosis(row: Row, rows: Rows, own: Sequence[Record], evidence: Evidence) -> Diagnosis | None:
    """Of a row whose attacker knows the defense, where it was diagnosed."""
    if evidence.diagnosed is None:
        return None
    freed = sanity.freed(rows, evidence)
    survivors = None if freed is None else 1 - freed
    return diagnosis.read(evidence.diagnosed, row.guarded.rejects, rows, _members(own), survivors)


def figures(task: OpenTask[Any, Any], rows: Sequence[Mapping[str, Any]], clean: Sequence[Mapping[str, Any]]) -> Figures:
    """The task's figures of a row, and those that every task has."""
    records = cast(Sequence[Record], rows)
    found = task.figures(records, cast(Sequence[Record], clean))
    names = ("original_top1", "success", "success_worst")
    shared = {
        name: share([row[name] for row in records])
        for name in names
        if name in records[0] and name not in found.metrics
    }
    if "words" in records[0]:
        shared["words_changed"] = _words_changed(records)
    found.metrics.update(shared)
    return found


def _words_changed(rows: Sequence[Record]) -> Metric:
    """The mean over the samples, and the deviation over all of their texts."""
    spread = [float(words) for words in chain.from_iterable(row["words"] for row in rows)]
    deviation = float(np.std(spread, ddof=1)) if len(spread) > 1 else 0.0
    found = average([float(np.mean(row["words"])) for row in rows])
    return found.model_copy(update={"sd": deviation})


def _settings(plan: Plan, row: Row) -> dict[str, Record]:
    variant = {plan.task.variant: row.variant} if row.spec and row.variant else {}
    attack = {**row.spec.settings, **variant} if row.spec else {}
    return {"defense": row.settings, "attack": attack}


def _members(own: Sequence[Record]) -> Sequence[str]:
    return next((line["members"] for line in own if "members" in line), [])


def _evidence(plan: Plan, row: Row, records: Records, ledger: Sequence[Record]) -> Evidence:
    """What the checks go by beside the records."""
    rows = records[row.id]
    tried = plan.task.tried(row.variant)
    twin = plan.sanity.get(row.spec.id) if row.spec and tried else None
    aims = plan.aims.get(row.spec.id, {}) if row.spec and row.knowledge == "adaptive" and tried else {}
    tried_aims = {line["other_objective"]: line for line in ledger if "other_objective" in line}
    probes = {line["probe"]: line for line in ledger if "probe" in line}
    diagnoses = {line["diagnosed"]: line for line in ledger if "diagnosed" in line}
    what = plan.diagnoses.get(row.spec.id) if row.spec and row.knowledge == "adaptive" and tried else None
    inspections = {line["inspected"]: line for line in ledger if "inspected" in line}
    return Evidence(
        probe=probes.get(twin.id) if twin else None,
        aims={name: tried_aims[aim.id] for name, aim in aims.items() if aim.id in tried_aims},
        diagnosed=diagnoses.get(what.id) if what else None,
        replays=bool(row.spec and isinstance(row.spec.attack, Attack) and row.spec.attack.replays_bare),
        reached=plan.task.held(cast(Sequence[Record], rows)),
        hashes=plan.hashes,
        inspection=inspections.get(plan.clean(row).id),
        stochastic=row.guarded.stochastic,
        chance=plan.task.chance,
        certified=_certified(records.get(plan.clean(row).id, [])),
        bare=_bare(plan, row, records),
    )


def _certified(clean: Sequence[SampleRecord]) -> dict[str, tuple[int, float]]:
    """What is certified of each clean input."""
    return {record["sample"]: (record["certified"], record["radius"]) for record in clean if "radius" in record}


def _bare(plan: Plan, row: Row, records: Records) -> statistics.Interval | None:
    """How often the undefended model of a row is right on clean samples; None where no row says so."""
    model = row.guarded.model.name
    for each in plan.rows:
        if each.guarded.bare and each.knowledge == "clean" and each.guarded.model.name == model:
            right = [bool(record["original_top1"]) for record in records.get(each.id, ()) if "original_top1" in record]
            return statistics.wilson(sum(right), len(right)) if right else None
    return None


def _outcomes(rows: Sequence[SampleRecord]) -> Outcomes:
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
        forwards=int(total("decide", "forwards")),
        backwards=int(total("decide", "backwards")),
        seconds=round(total("decide", "seconds"), 4),
        overhead=round(total("decide", "seconds") / bare, 3) if bare else 0.0,
        peak_memory=max((line["decide"]["peak_memory"] for line in last), default=0),
        attack_forwards=int(total("attack", "forwards")),
        attack_backwards=int(total("attack", "backwards")),
        attack_seconds=round(total("attack", "seconds"), 3),
    )


def _surrogates(row: Row) -> list[str]:
    """The models that the attack was made on, where they are not the victim."""
    if row.spec is None or (row.knowledge in ASKED and row.spec.queried is None):
        return []
    return [victim.model.name for victim in row.spec.victims]


def _resolution(plan: Plan, row: Row) -> list[int]:
    size = row.guarded.size
    return list(size or plan.task.batch([0], row.guarded).pairs.images.shape[-2:])


def _vote(row: Row, rows: Sequence[Mapping[str, Any]]) -> Vote | None:
    """The observed vote against the bound that holds for independent votes."""
    votes = row.guarded.draws
    if row.spec is None or votes < 2 or "eta" not in rows[0]:
        return None
    eta = np.array([record["eta"] for record in rows])
    bounds = [statistics.majority_bound(float(each), votes) for each in eta]
    return Vote(
        votes=votes,
        eta=float(eta.mean()),
        bound=float(np.mean(bounds)),
        captured=float(np.mean([record["captured"] for record in rows])),
        pooled_bound=statistics.majority_bound(float(eta.mean()), votes),
        histogram=[int(n) for n in np.histogram(eta, bins=10, range=(0, 1))[0]],
    )
