"""Which of two detectors does better, asked about the same inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from secondlook.audit.schema import Cell, Metric
from secondlook.audit.scored import Scored
from secondlook.audit.verdict import group_key
from secondlook.metrics.detection import auroc_difference

_ALIKE = ("oblivious", "transfer")
"""Attackers who do not see the defence: all detectors meet the same adversarials."""


def leading(
    cells: Sequence[Cell], clean: Mapping[str, str], scores: Mapping[str, Scored]
) -> list[Cell]:
    """The rows, with how far the audit's first detector of each model is ahead of the others.

    Args:
        cells: all rows, in the order of the audit.
        clean: the id of the clean row of each detector, by :func:`group_key`.
        scores: by the ids of rows.
    """
    first: dict[tuple[str, str], str] = {}
    for cell in cells:
        if cell.detection is not None:
            first.setdefault((cell.task, cell.model), group_key(cell))
    leaders = {
        _attack(cell): cell
        for cell in cells
        if cell.knowledge in _ALIKE and first.get((cell.task, cell.model)) == group_key(cell)
    }
    found = []
    for cell in cells:
        leader = leaders.get(_attack(cell))
        if leader is not None and leader.id != cell.id and cell.detection is not None:
            pair = [_both(each, clean, scores) for each in (leader, cell)]
            made = cell.detection.model_copy(update={"ahead": _lead(*pair)})
            cell = cell.model_copy(update={"detection": made})
        found.append(cell)
    return found


def _attack(cell: Cell) -> str:
    """Rows in which it is the same were given the same adversarials, whoever defends."""
    settings = sorted(cell.settings.get("attack", {}).items())
    return repr(
        (cell.task, cell.model, cell.knowledge, cell.threat, settings, cell.surrogates,
         cell.resolution)
    )  # fmt: skip


def _both(
    cell: Cell, clean: Mapping[str, str], scores: Mapping[str, Scored]
) -> tuple[Scored, Scored]:
    """The clean and the attacked inputs of a row."""
    return scores[clean[group_key(cell)]], scores[cell.id]


def _lead(first: tuple[Scored, Scored], other: tuple[Scored, Scored]) -> Metric | None:
    """None while one of two rows lacks samples that the other has."""
    sides = list(zip(first, other, strict=True))
    if any(one.samples != two.samples for one, two in sides):
        return None
    low, high = ((one.suspicion, two.suspicion) for one, two in sides)
    twins = first[0].samples == first[1].samples
    return Metric(**auroc_difference(low, high, twins=twins)._asdict())
