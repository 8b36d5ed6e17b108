"""Detectors: what their suspicions tell apart, what rejecting by them costs, and of what kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from secondlook.audit.report.tables import Block, Group, Row
from secondlook.audit.report.words import number
from secondlook.audit.schema import Metric
from secondlook.audit.schema_detection import Detection, Flagged

_EXTREMES = 3


@dataclass(frozen=True, kw_only=True)
class Watch:
    """The detectors of one task and model.

    Attributes:
        task: its name.
        model: its name.
        groups: the defences that reject by a suspicion.
    """

    task: str
    model: str
    groups: list[Group]

    @property
    def rates(self) -> list[str]:
        """The false positive rates that thresholds were set for."""
        every = (
            rate for group in self.groups for row in rows(group) for rate in of(row).calibrated
        )
        return list(dict.fromkeys(every))


def watches(blocks: Sequence[Block]) -> list[Watch]:
    """Those blocks of the matrix that have detectors, with them alone."""
    found = [
        Watch(task=block.task, model=block.model, groups=[g for g in block.groups if rows(g)])
        for block in blocks
    ]
    return [watch for watch in found if watch.groups]


def rows(group: Group) -> list[Row]:
    """The rows of a defence whose inputs were told apart."""
    return [row for row in group.rows if row.cell.detection is not None]


def attacked(group: Group) -> list[Row]:
    """Those of them that somebody attacks."""
    return [row for row in rows(group) if of(row).auroc is not None]


def largest(group: Group) -> list[Row]:
    """Of several budgets the rows of the largest."""
    found = attacked(group)
    eps = max((row.cell.threat.eps for row in found), default=0.0)
    return [row for row in found if row.cell.threat.eps == eps]


def of(row: Row) -> Detection:
    """The detection of a row that has one."""
    assert row.cell.detection is not None, f"nothing was detected in {row.name}"
    return row.cell.detection


def lead(metric: Metric) -> str:
    """A difference of two areas, with its sign."""
    return f"{metric.value:+.3f} [{metric.low:+.3f}, {metric.high:+.3f}]"


def extremes(row: Row) -> tuple[list[Flagged], list[Flagged]]:
    """The kinds of input that were rejected least, and those that were rejected most.

    No kind is in both, and none in either where all are alike; of equals the larger come first.
    """
    kinds = sorted(of(row).by_attribute, key=lambda kind: -kind.n)
    if len({kind.flagged.value for kind in kinds}) < 2:
        return [], []
    order = sorted(kinds, key=lambda kind: kind.flagged.value)
    turned = sorted(kinds, key=lambda kind: -kind.flagged.value)
    ends = min(_EXTREMES, len(kinds) // 2)
    return order[:ends], turned[:ends]


def area(row: Row) -> str:
    """The area under the curve in words."""
    found = of(row).auroc
    assert found is not None, f"{row.name} has no curve"
    return f"AUROC {number(found.value)} [{number(found.low)}, {number(found.high)}]"
