"""The headline of a defense: the worst over all attackers, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from secondlook import statistics
from secondlook.schema import Cell, Headline, Metric
from secondlook.tasks.view import GoalView, view_of

_Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def group_key(cell: Cell) -> str:
    """Cells of one defense under one model and task."""
    return repr((cell.task, cell.model, cell.defense, sorted(cell.settings["defense"].items())))


def headlines(cells: Sequence[Cell], records: _Rows) -> list[Headline]:
    """One headline for each defense, threat and goal; withheld where it would not be honest.

    A control has none.
    """
    found, defenses = [], [cell for cell in cells if not cell.control]
    for _, group in groupby(sorted(defenses, key=group_key), key=group_key):
        rows = list(group)
        clean = next((cell for cell in rows if cell.knowledge == "clean"), None)
        attacked = [cell for cell in rows if cell.knowledge != "clean"]
        if clean is not None:
            for goal, under in _under_goals(attacked):
                found.append(_headline(clean, under, goal, records))
    order = [cell.id for cell in cells]
    return sorted(found, key=lambda h: (order.index(h.rows[0]), h.threat.eps))


def _under_goals(attacked: Sequence[Cell]) -> Iterator[tuple[GoalView, list[Cell]]]:
    """For each threat and goal the rows that are taken together."""
    for threat in sorted({(c.threat.norm, c.threat.eps) for c in attacked}):
        under = [c for c in attacked if (c.threat.norm, c.threat.eps) == threat]
        for goal in dict.fromkeys(view_of(c.task).goal(c.goal) for c in under):
            counted = (goal.name, *goal.also)
            yield goal, [c for c in under if c.goal in counted]


def worst(cells: Sequence[Cell], records: _Rows, column: str, pick: Any) -> Metric:
    """The worst of the rows for each sample, then the share over the samples."""
    samples: dict[str, list[float]] = {}
    for cell in cells:
        for record in records[cell.id]:
            samples.setdefault(record["sample"], []).append(record[column])
    values = [pick(each) for each in samples.values()]
    return Metric(**statistics.wilson(sum(values), len(values))._asdict())


def _headline(clean: Cell, under: Sequence[Cell], goal: GoalView, records: _Rows) -> Headline:
    reasons = _reasons(under)
    kept = worst(under, records, "original_top1", min)
    return Headline(
        task=clean.task,
        model=clean.model,
        defense=clean.defense,
        threat=under[0].threat,
        n=min(cell.n for cell in under),
        clean_original_top1=clean.metrics["original_top1"],
        goal=goal.name,
        worst_reached=worst(under, records, goal.record, max),
        worst_target_top1=(worst(under, records, "target_top1", max) if "target_top1" in clean.metrics else None),
        clean_rejected=clean.metrics.get("rejected"),
        worst_original_top1=kept,
        rows=[cell.id for cell in under],
        status="withheld" if reasons else "shown",
        reasons=reasons,
    )


def _reasons(under: Sequence[Cell]) -> list[str]:
    reasons = [f"{cell.knowledge}: {check.reason}" for cell in under for check in cell.health if check.status == "fail"]
    reasons = list(dict.fromkeys(reasons))
    if not under[0].undefended and not any(cell.knowledge == "adaptive" for cell in under):
        reasons.append("no attack in this audit knows the defense; add knowledge = 'adaptive'")
    return reasons
