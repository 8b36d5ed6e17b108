"""The headline of a defence: the worst over all attackers, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from secondlook import statistics
from secondlook.audit.schema import Cell, Headline, Metric

_Rows = Mapping[str, Sequence[Mapping[str, Any]]]
_SPOILT = {"unsay": ("unsay", "say")}
"""Goals that are reached where the answer is not right, and whose attacks may bring that about."""


def group_key(cell: Cell) -> str:
    """Cells of one defence under one model and task."""
    return repr((cell.task, cell.model, cell.defence, sorted(cell.settings["defence"].items())))


def headlines(cells: Sequence[Cell], records: _Rows) -> list[Headline]:
    """One headline for each defence, threat and goal; withheld where it would not be honest."""
    found = []
    for _, group in groupby(sorted(cells, key=group_key), key=group_key):
        rows = list(group)
        clean = next((cell for cell in rows if cell.knowledge == "clean"), None)
        attacked = [cell for cell in rows if cell.knowledge != "clean"]
        if clean is not None:
            for goal, under in _contests(attacked):
                found.append(_headline(clean, under, goal, records))
    order = [cell.id for cell in cells]
    return sorted(found, key=lambda h: (order.index(h.rows[0]), h.threat.eps))


def _contests(attacked: Sequence[Cell]) -> Iterator[tuple[str, list[Cell]]]:
    """For each threat and goal the rows that are taken together."""
    for threat in sorted({(c.threat.norm, c.threat.eps) for c in attacked}):
        under = [c for c in attacked if (c.threat.norm, c.threat.eps) == threat]
        for goal in dict.fromkeys(c.goal for c in under):
            yield goal, [c for c in under if c.goal in _SPOILT.get(goal, (goal,))]


def worst(cells: Sequence[Cell], records: _Rows, column: str, pick: Any) -> Metric:
    """The worst of the rows for each sample, then the share over the samples."""
    samples: dict[str, list[float]] = {}
    for cell in cells:
        for record in records[cell.id]:
            samples.setdefault(record["sample"], []).append(record[column])
    values = [pick(each) for each in samples.values()]
    return Metric(**statistics.wilson(sum(values), len(values))._asdict())


def _headline(clean: Cell, under: Sequence[Cell], goal: str, records: _Rows) -> Headline:
    reasons = _reasons(under)
    kept = worst(under, records, "original_top1", min)
    return Headline(
        task=clean.task, model=clean.model, defence=clean.defence, threat=under[0].threat,
        n=min(cell.n for cell in under), clean_original_top1=clean.metrics["original_top1"],
        goal=goal,
        worst_reached=worst(under, records, "wrong" if goal in _SPOILT else "reached", max),
        worst_target_top1=(
            worst(under, records, "target_top1", max) if clean.goal == "targeted" else None
        ),
        clean_rejected=clean.metrics.get("rejected"),
        worst_original_top1=kept,
        rows=[cell.id for cell in under], status="withheld" if reasons else "shown",
        reasons=reasons,
    )  # fmt: skip


def _reasons(under: Sequence[Cell]) -> list[str]:
    reasons = [
        f"{cell.knowledge}: {check.check} failed: {check.detail}"
        for cell in under
        for check in cell.health
        if check.status == "fail"
    ]
    reasons = list(dict.fromkeys(reasons))
    bare = under[0].settings["defence"].get("name") == "undefended"
    if not bare and not any(cell.knowledge == "adaptive" for cell in under):
        reasons.append("no attack in this audit knows the defence; add knowledge = 'adaptive'")
    return reasons
